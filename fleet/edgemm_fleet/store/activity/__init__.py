"""What a store counts and times of its own work, in memory."""
