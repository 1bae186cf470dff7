"""The spool: messages to the fleet that wait for an acknowledgement, in memory and on disk."""
