"""Handlers of routes that are answered through Flask."""
