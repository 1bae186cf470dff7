"""Thousands of simulated devices in a few processes, each with a key and a socket of its own."""
