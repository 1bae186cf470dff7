"""Arrays by name: checked, cast, quantized, batched, compared, and read from text and files. Pure."""
