"""The first place at which a failed variant parts from its source, found in a child process."""
