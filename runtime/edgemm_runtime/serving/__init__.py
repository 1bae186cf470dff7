"""Serving over HTTP: a registry of models, pure codecs for each protocol, and a WSGI server around them."""
