"""Commands of the plain install."""
