"""Counts and times of a store's own work, in memory."""
