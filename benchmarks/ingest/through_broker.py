"""Windows through a real Mosquitto into a real manager, and into a bare loop of paho that throws them away.

The bare loop is `paho.mqtt.client.Client.loop_forever` with an `on_message` that adds one to a number: it neither reads
what came nor passes it on. It subscribes to the same topics as the manager, by the same QoS, and every window has to
come: no more are on their way than Mosquitto holds for one client, and a run in which one is missing is void. The
manager's devices are held up in the same way, by as many windows in flight, and go on by its acknowledgements.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.ingest.fleet_of_senders import enrol_all
from benchmarks.ingest.senders import Ready, Task, send
from edgemm import topics
from edgemm.messages import Stream
from edgemm.trust import signing
from edgemm.trust.tls import pinned_context
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
from edgemm_fleet.broker.mosquitto import MosquittoFiles
from edgemm_fleet.server.python_settings import settle_python
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store, streams
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.trust.certificate import create_certificate
from simulators import needs
from simulators.broker import FLEET
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.postgresql import Cluster

BARE, SQLITE, POSTGRESQL = "bare", "sqlite", "postgresql"
_MANAGER = ("@manager", "what the manager logs in with")
_MOST_IN_FLIGHT = 64
"""Of an honest device."""
_IN_FLIGHT = 4000
"""Of all devices together: Mosquitto queues no more for one client, and drops the rest."""
_READY_S = 120.0
_PROCESSES = multiprocessing.get_context("spawn")


class Traffic(Struct, frozen=True):
    """What is sent, and how."""

    devices: int
    windows: int
    """Of all devices together."""
    tls: bool
    processes: int
    """Of senders."""
    qos: int
    """With which the bare loop subscribes."""


class Passed(Struct, frozen=True):
    """What one run was measured to take."""

    receiver: str
    tls: bool
    windows: int
    per_s: float
    """Windows a second, from the first that was sent to the last that was acknowledged or counted."""
    receiver_cpu_us: float
    """A window, of the process that receives."""
    database_cpu_us: float
    """Of PostgreSQL; SQLite is in the manager's process."""
    broker_cpu_us: float
    senders_cpu_us: float
    again: int
    """Windows that were sent again."""

    @property
    def receiver_busy(self) -> float:
        """The share of one core that the receiver had: near 1 (or above, of two threads) it is what limits."""
        return self.per_s * self.receiver_cpu_us / 1e6


class _Place(Struct, frozen=True):
    """Where a run has its files and its database."""

    folder: Path
    database: DatabaseAddress
    server: int | None
    """PostgreSQL's process."""


def run(receiver: str, traffic: Traffic) -> Passed:
    """Send windows of all devices together to the `bare` loop, or to a manager with `sqlite` or `postgresql`.

    Raises:
        AssertionError: a window did not come, or is not stored, or is stored twice.
    """
    devices, each = traffic.devices, traffic.windows // traffic.devices
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder, ExitStack() as stack:
        place, port = _placed(stack, Path(folder), receiver), free_port()
        settings = _write(place.folder, enrol_all(place.folder, devices, place.database), port, traffic)
        broker = stack.enter_context(MosquittoProcess(_mosquitto(), place.folder, port=port, verbose=False))
        ready = Ready(_PROCESSES.Semaphore(0), _PROCESSES.Event(), _PROCESSES.Queue())
        counted = _PROCESSES.Value("q", 0, lock=False) if receiver == BARE else None
        if counted is None:
            started = _start(stack, manage, place, settings, ready)
        else:
            started = _start(stack, throw_away, settings, ready, counted, traffic.qos)
        assert ready.there.acquire(timeout=_READY_S), "the receiver is there"
        parts = [range(first, devices, traffic.processes) for first in range(traffic.processes)]
        flight = max(1, min(_MOST_IN_FLIGHT, _IN_FLIGHT // devices))
        sending = [
            _start(stack, send, Task(part, each, flight, port, settings.ca, counted, len(part) / devices), ready)
            for part in parts
        ]
        for _ in sending:
            assert ready.there.acquire(timeout=_READY_S), "the devices are connected"
        pids = (started.pid, place.server, broker.pid, *(one.pid for one in sending))
        before = [_cpu_s(pid) for pid in pids]
        ready.go.set()
        ends = [json.loads(ready.ended.get(timeout=600)) for _ in sending]
        took = [1e6 / (each * devices) * (_cpu_s(pid) - was) for pid, was in zip(pids, before, strict=True)]
        took_s = max(end for _, end, _ in ends) - min(begun for begun, _, _ in ends)
        came = _stored(place.database) if counted is None else counted.value
        assert came == each * devices, f"{came:,} windows came, {each * devices:,} were sent"
        again = sum(again for _, _, again in ends)
        return Passed(receiver, traffic.tls, came, came / took_s, took[0], took[1], took[2], sum(took[3:]), again)


def _placed(stack: ExitStack, folder: Path, receiver: str) -> _Place:
    if receiver != POSTGRESQL:
        return _Place(folder, folder / "fleet.db", None)
    (folder / "postgresql").mkdir()
    folder.chmod(0o711)  # PostgreSQL is another user where we are root
    cluster = stack.enter_context(Cluster(folder / "postgresql", settings=("fsync=on", "full_page_writes=on")))
    return _Place(folder, cluster.create("fleet"), cluster.pid)


def _start(stack: ExitStack, target: Callable[..., None], *args: Any) -> Any:
    process = _PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.kill)
    return process


def _write(folder: Path, logins: list[tuple[str, str]], port: int, traffic: Traffic) -> BrokerSettings:
    """Write the files of Mosquitto as a manager does, and give its listener a certificate.

    Where the loop subscribes by QoS 1, Mosquitto keeps whatever it has for it: it reads one confirmation of a client
    in turn with one message of each device, takes it for slow, and would drop what the loop is still to get.
    """
    made = BrokerSettings(Provider.MOSQUITTO, port=port, login=_MANAGER, mosquitto=MosquittoFolder(folder))
    MosquittoFiles(made, FLEET).write(logins)
    if traffic.qos:
        path = folder / "mosquitto.conf"
        unbounded = re.sub(r"(?m)^(max_(?:queued|inflight)_(?:messages|bytes)) \d+$", r"\1 0", path.read_text())
        path.write_text(unbounded)
    if not traffic.tls:
        return BrokerSettings(Provider.STATIC, port=port, login=_MANAGER)
    certificate, key = folder / "broker.crt", folder / "broker.key"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    with (folder / "mosquitto.conf").open("a") as file:
        file.write(f"certfile {certificate}\nkeyfile {key}\n")
    return BrokerSettings(Provider.STATIC, port=port, tls=True, ca=certificate.read_text(), login=_MANAGER)


def manage(place: _Place, settings: BrokerSettings, ready: Ready) -> None:
    """Be the manager."""
    store = Store.open(place.database)
    key = signing.load_key(place.folder / "director.pem")
    manager = FleetServices(ManagerSettings(FLEET, settings), store=store, director_key=key)
    settle_python()  # as `edgemm fleet serve` does
    manager.start()
    ready.there.release()
    threading.Event().wait()


def throw_away(settings: BrokerSettings, ready: Ready, counted: Any, qos: int) -> None:
    """Be a loop of paho that counts what comes."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare")
    client.username_pw_set(*_MANAGER)
    if settings.tls:
        client.tls_set_context(pinned_context(settings.ca))

    def count_one(*_: object) -> None:
        counted.value += 1

    def subscribe(*_: object) -> None:
        client.subscribe([(one, qos) for one in topics.ingest_filters(FLEET)])

    client.on_message = count_one
    client.on_connect = subscribe
    client.on_subscribe = lambda *_: ready.there.release()
    client.connect("127.0.0.1", settings.number)
    client.loop_forever()


def _stored(database: DatabaseAddress) -> int:
    store = Store.open(database)
    with store.read() as tx:
        found = streams.received(tx)[Stream.TELEMETRY]
    store.close()
    return found


def _mosquitto() -> Path:
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        needs.program("mosquitto")
    return Path(str(program))


def _cpu_s(pid: int | None) -> float:
    """Return what a process, with those that it started and that are still there, took of the CPUs so far."""
    if pid is None:
        return 0.0
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it ended
        return 0.0
    mine = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return mine + sum(_cpu_s(int(child)) for child in children)
