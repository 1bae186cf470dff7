"""Runs of the variants in the device's engines, in a child process."""
