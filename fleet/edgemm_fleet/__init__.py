"""Bundles and devices → rollouts and verdicts, on a server."""
