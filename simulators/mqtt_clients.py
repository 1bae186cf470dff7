"""The end of a client of paho's: the pair of sockets by which its threads wake each other is closed with it."""

from __future__ import annotations

import paho.mqtt.client as mqtt


def let_go(client: mqtt.Client) -> None:
    """Take from a stopped client what it calls: whoever has it is called by it, and so neither is gone at once.

    What goes in a cycle goes in any order: its sockets may be found open.
    """
    client.on_connect = client.on_pre_connect = client.on_subscribe = client.on_message = client.on_disconnect = None
