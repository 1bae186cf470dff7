"""Predictions over MQTT beside a server, from its start to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgemm_runtime.mqtt.owner_broker import OwnerBroker, refuse_the_fleets
from edgemm_runtime.serving.server import ModelServer


@contextmanager
def over_mqtt(broker: OwnerBroker | None, server: ModelServer, *, fleets: tuple[str, int] | None) -> Iterator[None]:
    """Answer over the owner's broker too while the block runs, where there is one; it may come and go.

    Raises:
        InputError: it is the broker of the device's fleet, whose host and port `fleets` is.
    """
    if broker is None:
        yield
        return
    refuse_the_fleets(broker, fleets)
    from edgemm_runtime.mqtt.owner_line import OwnerLine  # paho-mqtt is loaded where it is needed

    line = OwnerLine(broker, server.ask, server.memory, fleets=fleets)

    def collector() -> object:
        from edgemm_runtime.mqtt.mqtt_metrics import MqttCollector

        return MqttCollector(line)

    server.collectors.append(collector)
    line.start()
    try:
        yield
    finally:
        line.stop()
