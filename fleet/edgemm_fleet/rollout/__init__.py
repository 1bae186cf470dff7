"""Rollouts: decide which devices get a version next, and when to stop.

`plan`, `members`, `tally`, `judgement`, `selection` and `machine` decide and do no I/O. `runner` is the shell that
reads and writes the store, and `operations` holds the actions of an operator.
"""
