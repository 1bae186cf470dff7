"""The ways to a fleet manager and its broker, which devices and operators share: addresses, HTTPS and MQTT.

`https` needs urllib3 and `broker_line` needs paho-mqtt, which the runtime and the fleet extra bring. Nothing else in
core imports the two, so that the plain install does without them.
"""
