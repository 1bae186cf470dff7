"""Updating one model: a pure state machine, the steps it asks for, and the thread that takes them."""
