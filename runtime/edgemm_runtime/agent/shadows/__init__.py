"""Shadows that the fleet asks for: planned, fetched and kept running."""
