"""Shadows that an operator asks for."""
