"""What each device is told: `desired` composed of its assignments, signed, and sent until the broker has it."""
