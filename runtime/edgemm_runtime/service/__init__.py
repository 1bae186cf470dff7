"""The systemd service of a device: the unit, its installation, and the notifications to the service manager."""
