"""The ingest of devices' messages: receives, checks and stores them, acknowledges what is durable, and acts.

Each message is stored once.
"""
