"""The director: composes `desired` from a device's assignments, signs it, sends it until the broker has it."""
