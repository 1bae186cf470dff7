"""Small stand-ins for the real things, used by tests and benchmarks; they implement the production interfaces."""
