"""The graphs of model files, and whether lengths in them follow values."""
