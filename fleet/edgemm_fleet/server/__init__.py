"""The fleet manager's process: its services, its HTTP server, and what it deletes with time."""
