"""What devices say: received, checked, stored once, acknowledged when it is durable, and acted on."""
