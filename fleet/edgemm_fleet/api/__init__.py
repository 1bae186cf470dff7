"""The fleet manager's HTTP API: a table of routes, the handlers behind it, and the server in front."""
