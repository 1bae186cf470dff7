"""The readers of metadata in finished model files: labels, and how inputs are made of images."""
