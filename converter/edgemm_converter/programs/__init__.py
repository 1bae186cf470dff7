"""Exported programs of PyTorch: what a file may hold, and the program as a source."""
