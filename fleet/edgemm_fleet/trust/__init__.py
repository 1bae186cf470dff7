"""Who may make a device run what: keys, certificate and the TUF repository of a fleet."""
