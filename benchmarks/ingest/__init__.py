"""What it costs a manager to take in what devices measure; see benchmarks/README.md."""
