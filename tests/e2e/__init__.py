"""End-to-end tests: real processes through the command line alone."""
