"""Connections to the fleet: enrolment, HTTPS downloads, MQTT."""
