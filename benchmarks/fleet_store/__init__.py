"""The benchmark of the fleet's store at many devices."""
