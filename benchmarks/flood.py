"""What hostile devices cost a fleet: `python -m benchmarks.flood [--broker embedded] [--only qos1] [--seconds S]`.

A real manager and broker serve one honest device, while one hostile one, or eight, flood them: messages of 30 kB by QoS
0 and 1, retained garbage, subscriptions without end, packets that announce 256 MB, connections that come and go, or
that say nothing. Printed for each: the resident memory of broker and manager before, at its peak and afterwards, what
was logged, and how long the honest device waited for its acknowledgements and for its `desired`. Exit status 1: more
memory than the goal, or the honest device waited for longer than the goal.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from simulators import needs

with needs.imports(__name__, "fleet"):
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion
    from securesystemslib.signer import CryptoSigner

    from benchmarks.serving import memory
    from edgemm import topics
    from edgemm.messages import Ack, Action, ActionKind, decode_control
    from edgemm.topics import Channel
    from edgemm.trust import signing
    from edgemm_fleet.director.director import Director
    from edgemm_fleet.store import Store, actions
    from simulators.broker import FLEET, enrol
    from simulators.device import Outgoing, SimulatedDevice
    from simulators.flooder import Flood, Flooder
    from simulators.manager_process import ManagerProcess
    from simulators.mosquitto import MosquittoProcess, free_port
    from simulators.waiting import eventually

GOAL_MIB = 150.0
"""More than it had before the flood, of broker and manager each."""
GOAL_WAIT_S = 10.0
_HOSTILE = 8
_PASSWORD = "a password of 128 random bits"
_PAUSE_S = 0.1
_AGAIN_AFTER_S = 5.0
_AFTER_S = 15.0
_CALM_S = 3.0


class Honest:
    """An honest device that measures one window after another, and each time asks for its `desired` too."""

    def __init__(self, device: SimulatedDevice, port: int) -> None:
        self._device, self._port = device, port
        self._acknowledged, self._wished = 0, 0
        self._heard = threading.Condition()
        self._waits: dict[str, list[float]] = {"ack": [], "desired": []}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device.id)
        self._client.username_pw_set(device.id, _PASSWORD)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = lambda *_: self._connected()
        self._client.on_message = lambda *args: self._received(args[2])

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def taken(self) -> dict[str, list[float]]:
        """Return the waits since it was asked last, in seconds."""
        waits, self._waits = self._waits, {"ack": [], "desired": []}
        return waits

    def wait_until_served(self) -> None:
        """Wait for a first round, which may wait for a manager that comes to its broker."""
        eventually(lambda: self._waits["desired"], "the honest device is served")
        self.taken()

    def _connected(self) -> None:
        self._client.subscribe([(topics.topic(FLEET, self._device.id, one), 1) for one in sorted(topics.FROM_FLEET)])
        self._say(self._device.connect()[0])

    def _received(self, message: mqtt.MQTTMessage) -> None:
        with self._heard:
            if topics.parse(message.topic).channel is Channel.DESIRED:
                self._wished += not message.retain
            else:
                acks = decode_control(bytes(message.payload), Ack).acks
                self._acknowledged = max(self._acknowledged, *(one.sequence for one in acks))
            self._heard.notify_all()

    def _run(self) -> None:
        sequence = 0
        while not self._stop.wait(_PAUSE_S):
            sequence += 1
            self._waits["ack"].append(self._wait_for_ack(sequence))
            self._waits["desired"].append(self._wait_for_desired(self._wished))

    def _wait_for_ack(self, sequence: int) -> float:
        window = self._device.measure()
        return self._wait(lambda: window, lambda: self._acknowledged >= sequence)

    def _wait_for_desired(self, before: int) -> float:
        return self._wait(self._device.report, lambda: self._wished > before)

    def _wait(self, make: Callable[[], Outgoing], heard: Callable[[], bool]) -> float:
        """Say something until there is an answer; return how long that took."""
        begun_s = time.monotonic()
        with self._heard:
            while not self._stop.is_set():
                self._say(make())
                if self._heard.wait_for(lambda: heard() or self._stop.is_set(), _AGAIN_AFTER_S):
                    break
        return time.monotonic() - begun_s

    def _say(self, message: Outgoing) -> None:
        self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)


@dataclass(frozen=True)
class World:
    """A manager, its broker, an honest device and hostile ones."""

    port: int
    pids: dict[str, int]
    """Whose memory is looked at."""
    honest: Honest
    logs: list[Path]

    def resident(self) -> dict[str, float]:
        """Return how much of the memory of each is resident, in MiB."""
        return {name: memory.of([pid]).rss_bytes / memory.MIB for name, pid in self.pids.items()}


@contextmanager
def _world(folder: Path, *, mosquitto: bool) -> Iterator[World]:
    port, director, signer = free_port(), signing.create_key(folder / "director.pem"), CryptoSigner.generate_ed25519()
    store, now = Store.open(folder / "fleet.db"), time.time()
    with store.write() as tx:
        enrol(tx, "honest", signer, labels={}, password=_PASSWORD)
        for number in range(_HOSTILE):
            enrol(tx, f"bad-{number}", CryptoSigner.generate_ed25519(), labels={}, password=_PASSWORD)
        actions.add(tx, "honest", Action(id="a", kind=ActionKind.DIAGNOSE), now=now)
        Director(FLEET, director).write(tx, ["honest"], now=now)
    store.close()
    with ExitStack() as stack:
        manager = ManagerProcess(folder, port=port, mosquitto=folder if mosquitto else None)
        manager.start()
        stack.callback(manager.kill)
        pids, logs = {"manager": manager.pid}, [folder / "manager.log"]
        if mosquitto:
            program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
            if program is None:
                needs.program("mosquitto")
            broker = stack.enter_context(MosquittoProcess(Path(str(program)), folder, port=port, verbose=False))
            pids["broker"] = broker.pid
            logs.append(broker.log)
        device = SimulatedDevice(FLEET, "honest", signer=signer, director=[director.public_key], now=now)
        yield World(port, pids, stack.enter_context(Honest(device, port)), logs)


def _measured(world: World, kinds: Sequence[Flood], hostile: int, seconds: float) -> bool:
    """Flood, look on, look on afterwards; print what was seen, and tell whether it met the goals."""
    world.honest.wait_until_served()
    time.sleep(_CALM_S)
    before = world.resident()
    calm = world.honest.taken()
    peak = dict(before)
    written = sum(log.stat().st_size for log in world.logs)
    with ExitStack() as stack:
        for number in range(hostile):
            name = f"bad-{number}"
            topic = topics.topic(FLEET, name, Channel.EVENT)
            for kind in kinds:
                stack.enter_context(Flooder(kind, port=world.port, login=(name, _PASSWORD), topic=topic))
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            time.sleep(0.1)
            peak = {name: max(peak[name], size) for name, size in world.resident().items()}
        during = world.honest.taken()
    time.sleep(_AFTER_S)
    world.honest.taken()
    time.sleep(_CALM_S)
    after, later = world.resident(), world.honest.taken()
    written = sum(log.stat().st_size for log in world.logs) - written
    grown = {name: peak[name] - before[name] for name in peak}
    sizes = ", ".join(f"{n} {before[n]:.0f} → {peak[n]:.0f} → {after[n]:.0f} MiB" for n in sorted(peak))
    print(f"{'+'.join(kinds)} × {hostile}: {sizes}; logs {written / 1024:.0f} KiB")
    for when, waits in (("before", calm), ("during", during), ("after", later)):
        print(f"  {when:>6}: " + "; ".join(f"{what} {_text(found)}" for what, found in waits.items()), flush=True)
    waited = max(max(found, default=math.inf) for waits in (during, later) for found in waits.values())
    return max(grown.values()) <= GOAL_MIB and waited <= GOAL_WAIT_S


def _text(waits: Sequence[float]) -> str:
    if not waits:
        return "NEVER"
    return f"{len(waits)} times, median {1000 * statistics.median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms"


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=("embedded", "mosquitto"), action="append")
    parser.add_argument("--only", choices=[kind.value for kind in Flood], action="append")
    parser.add_argument("--hostile", type=int, choices=range(1, _HOSTILE + 1), action="append")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    good = True
    for broker in options.broker or ("embedded", "mosquitto"):
        print(broker)
        for kind in map(Flood, options.only or list(Flood)):
            for hostile in options.hostile or (1, _HOSTILE):
                with (
                    tempfile.TemporaryDirectory() as folder,
                    _world(Path(folder), mosquitto=broker == "mosquitto") as world,
                ):
                    good = _measured(world, [kind], hostile, options.seconds) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
