"""The values that the store hands out and the rest of the fleet manager works on: frozen, never rows."""
