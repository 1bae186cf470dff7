"""The store's members of rollouts in large numbers: their counts, and the choice of those of a group."""
