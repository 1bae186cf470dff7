"""The models of one process: the registry, counters, late labels, hangs, and loading."""
