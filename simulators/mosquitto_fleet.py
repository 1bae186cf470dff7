"""The simulated fleet at a real Mosquitto, and what it says can be chosen by a test.

with MosquittoFleet(mosquitto, folder) as fleet:
    fleet.acknowledge = False
    fleet.say(device, StreamAck(boot=…, stream=Stream.TELEMETRY, sequence=7))
"""

from __future__ import annotations

from pathlib import Path

from edgemm.messages import Ack, StreamAck, encode_control
from edgemm.topics import Channel
from simulators.fleet import SimulatedFleet
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration


class MosquittoFleet(SimulatedFleet):
    """A `SimulatedFleet` whose broker is Mosquitto, in a process of its own that lets anybody in."""

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(broker=False)
        self._broker_port = free_port()
        write_open_configuration(folder, port=self._broker_port)
        self.mosquitto = MosquittoProcess(program, folder, port=self._broker_port)
        self.start_broker()

    def start_broker(self) -> None:
        """Start Mosquitto, and listen to all devices."""
        self.mosquitto.__enter__()
        self._listen()

    def stop_broker(self) -> None:
        """Kill Mosquitto; what it held in memory is gone."""
        self._hang_up()
        self.mosquitto.kill()

    def say(self, device: str, *acks: StreamAck) -> None:
        """Publish one acknowledgement, whatever it claims."""
        self.send(device, Channel.ACK, encode_control(Ack(acks=acks)))
