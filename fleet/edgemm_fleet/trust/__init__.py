"""The trust of a fleet: the keys, the certificate and the TUF repository that decide what a device may run."""
