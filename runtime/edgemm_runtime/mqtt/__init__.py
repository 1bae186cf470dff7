"""Predictions over an MQTT broker of the device's owner, which is never the fleet's."""
