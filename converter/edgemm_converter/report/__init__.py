"""The page about a conversion (`--report`), and the measurements that it shows."""
