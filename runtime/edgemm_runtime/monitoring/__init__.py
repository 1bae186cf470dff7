"""The committee beside a model: how inputs are seen, what the heads answer, what is counted. NumPy alone."""
