"""Configuration files: the options of a command in TOML, what holds and where it came from."""
