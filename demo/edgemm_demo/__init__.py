"""The demo: a whole fleet on one machine. It is the only package that may import all parts."""
