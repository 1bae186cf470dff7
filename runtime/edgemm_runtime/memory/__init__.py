"""The memory of this process: one budget for all requests, and what goes back to the system."""
