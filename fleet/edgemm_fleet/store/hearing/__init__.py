"""Reads of the store for hearing a batch of messages."""
