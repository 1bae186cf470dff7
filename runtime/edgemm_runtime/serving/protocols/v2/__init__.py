"""The Open Inference Protocol v2: messages, codec, raw tensors, timeouts, repository extension."""
