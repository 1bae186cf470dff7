"""The runtime's commands: each parses, calls and prints."""
