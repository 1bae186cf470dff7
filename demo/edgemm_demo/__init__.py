"""The whole story on one machine: the only place that may import all parts."""
