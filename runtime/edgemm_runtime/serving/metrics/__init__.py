"""Prometheus metrics of models, the board and shadows."""
