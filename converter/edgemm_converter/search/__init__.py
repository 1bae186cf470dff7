"""The search for a precision within a budget, run in a child process."""
