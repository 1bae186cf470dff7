"""Windows through a real Mosquitto into a real manager, and into a bare paho loop that throws them away."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
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
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.store import Store, streams
from edgemm_fleet.trust.certificate import create_certificate
from simulators import needs
from simulators.broker import FLEET
from simulators.mosquitto import MosquittoProcess, free_port

_MANAGER = ("@manager", "what the manager logs in with")
_MOST_IN_FLIGHT = 64
"""Of an honest device."""
_IN_FLIGHT = 4000
"""Of all devices together: Mosquitto queues no more for one client, and drops the rest."""
_READY_S = 120.0
_PROCESSES = multiprocessing.get_context("spawn")


class Passed(Struct, frozen=True):
    """What one run was measured to take."""

    receiver: str
    tls: bool
    devices: int
    windows: int
    per_s: float
    """Windows a second, from the first that was sent to the last that was acknowledged or counted."""
    receiver_cpu_us: float
    """A window."""
    broker_cpu_us: float
    senders_cpu_us: float
    again: int
    """Windows that were sent again."""
    lost: int
    """Windows that the broker dropped on their way to the loop that throws away, to which nothing is sent again."""


def run(receiver: str, *, tls: bool, devices: int, windows: int, processes: int, qos: int = 1) -> Passed:
    """Send `windows` of all devices together to the `manager`, or the `bare` loop, which subscribes with `qos`."""
    each = windows // devices
    with tempfile.TemporaryDirectory(prefix="ingest-") as place, ExitStack() as stack:
        folder, port = Path(place), free_port()
        settings = _write(folder, enrol_all(folder, devices), port, tls=tls)
        broker = stack.enter_context(MosquittoProcess(_mosquitto(), folder, port=port, verbose=False))
        ready = Ready(_PROCESSES.Semaphore(0), _PROCESSES.Event(), _PROCESSES.Queue())
        counted = _PROCESSES.Value("q", 0, lock=False) if receiver == "bare" else None
        started = _start(stack, manage if counted is None else throw_away, folder, settings, ready, counted, qos)
        assert ready.there.acquire(timeout=_READY_S), "the receiver is there"
        parts = [range(first, devices, processes) for first in range(processes)]
        flight = max(1, min(_MOST_IN_FLIGHT, _IN_FLIGHT // devices))
        sending = [
            _start(stack, send, Task(part, each, flight, port, settings.ca, counted, len(part) / devices), ready)
            for part in parts
        ]
        for _ in sending:
            assert ready.there.acquire(timeout=_READY_S), "the devices are connected"
        pids = (started.pid, broker.pid, *(one.pid for one in sending))
        before = [_cpu_s(pid) for pid in pids]
        ready.go.set()
        ends = [json.loads(ready.ended.get(timeout=600)) for _ in sending]
        receiver_s, broker_s, *senders_s = (_cpu_s(pid) - was for pid, was in zip(pids, before, strict=True))
        took_s = max(end for _, end, _ in ends) - min(begun for begun, _, _ in ends)
        sent = each * devices
        came = sent if counted is None else counted.value
        if counted is None:
            _verify(folder, sent)
        return Passed(
            receiver,
            tls,
            devices,
            came,
            came / took_s,
            1e6 / came * receiver_s,
            1e6 / came * broker_s,
            1e6 / came * sum(senders_s),
            sum(again for _, _, again in ends),
            sent - came,
        )


def _start(stack: ExitStack, target: Callable[..., None], *args: Any) -> Any:
    process = _PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.kill)
    return process


def _write(folder: Path, logins: list[tuple[str, str]], port: int, *, tls: bool) -> BrokerSettings:
    """Write the files of Mosquitto as a manager does, and give its listener a certificate."""
    made = BrokerSettings(Provider.MOSQUITTO, port=port, login=_MANAGER, mosquitto=MosquittoFolder(folder))
    MosquittoFiles(made, FLEET).write(logins)
    if not tls:
        return BrokerSettings(Provider.STATIC, port=port, login=_MANAGER)
    certificate, key = folder / "broker.crt", folder / "broker.key"
    create_certificate(certificate, key, names=(), now=datetime.now(UTC))
    with (folder / "mosquitto.conf").open("a") as file:
        file.write(f"certfile {certificate}\nkeyfile {key}\n")
    return BrokerSettings(Provider.STATIC, port=port, tls=True, ca=certificate.read_text(), login=_MANAGER)


def manage(folder: Path, settings: BrokerSettings, ready: Ready, _counted: None, _qos: int) -> None:
    """Be the manager."""
    store = Store.open(folder / "fleet.db")
    key = signing.load_key(folder / "director.pem")
    FleetServices(ManagerSettings(FLEET, settings), store=store, director_key=key).start()
    ready.there.release()
    threading.Event().wait()


def throw_away(_folder: Path, settings: BrokerSettings, ready: Ready, counted: Any, qos: int) -> None:
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


def _verify(folder: Path, expected: int) -> None:
    store = Store.open(folder / "fleet.db")
    with store.read() as tx:
        found = streams.received(tx)[Stream.TELEMETRY]
    store.close()
    assert found == expected, f"{found:,} windows are stored, {expected:,} were acknowledged"


def _mosquitto() -> Path:
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        needs.program("mosquitto")
    return Path(str(program))


def _cpu_s(pid: int) -> float:
    """Return what a process took of the CPUs so far."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.process_time()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
