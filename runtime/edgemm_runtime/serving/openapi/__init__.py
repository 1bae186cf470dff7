"""The OpenAPI document of a device's HTTP interface."""
