"""The agent's state on disk: identity, records of models, the shelf of blobs, time, the reserve."""
