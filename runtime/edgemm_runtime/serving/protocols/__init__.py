"""Codecs and endpoints of the protocols that ask a model: bytes in, bytes out."""
