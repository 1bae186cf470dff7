"""A system service: the unit, its installation, and what the process tells the service manager of itself."""
