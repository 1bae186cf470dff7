"""Conversions that were made before, by a fingerprint of all that their bytes follow from."""
