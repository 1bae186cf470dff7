"""Measurements of a model on this machine: latency, throughput, memory, and the conditions meanwhile."""
