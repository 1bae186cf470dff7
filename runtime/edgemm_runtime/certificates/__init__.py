"""The certificate that a device serves HTTPS with: read, renewed, and how long it is still good."""
