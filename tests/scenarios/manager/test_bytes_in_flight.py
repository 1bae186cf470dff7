"""What waits for a database that is not there is bounded, for each device and in all, and costs no honest one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm import topics
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.ingest.fair_queue import ShareLimits
from edgemm_fleet.store import Store
from simulators.broker import FLEET, enrol
from simulators.device import MqttDevice, SimulatedDevice
from simulators.manager_process import ManagerProcess
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.mqtt_packets import connect_packet, publish_packet
from simulators.waiting import eventually
from tests.scenarios.manager.test_unwell import HOLDER

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service, pytest.mark.sqlite]
MIB = 1024 * 1024
FLOODING, MESSAGES, SIZE = 16, 240, 30_000
"""Of each, 7 MiB: more than its share, and of all 110 MiB, more than theirs."""
WINDOWS = 50


def memory_bytes(pid: int, name: str) -> int:
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def flooding(port: int, device: str) -> socket.socket:
    """Return a connection of a device that has sent what it can."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(connect_packet(device, (device, "pw")))
    assert client.recv(4)[3:] == b"\0"
    message = publish_packet(topics.topic(FLEET, device, Channel.TELEMETRY), bytes(SIZE), qos=0, message_id=0)
    for _ in range(MESSAGES):
        client.sendall(message)
    return client


def test_floods_beside_a_database_that_is_held_cost_a_bounded_memory_and_no_window(
    tmp_path: Path, mosquitto: Path
) -> None:
    director, port = signing.create_key(tmp_path / "director.pem").public_key, free_port()
    signer, store = CryptoSigner.generate_ed25519(), Store.open(tmp_path / "fleet.db")
    with store.write() as tx:
        enrol(tx, "honest", signer, labels={})
        for number in range(FLOODING):
            enrol(tx, f"bad-{number}", CryptoSigner.generate_ed25519(), labels={})
    store.close()
    device = SimulatedDevice(FLEET, "honest", signer=signer, director=[director], now=time.time())
    access = BrokerAccess(host="127.0.0.1", port=port, tls=False, username="honest", password="pw")
    log = tmp_path / "manager.log"
    with ExitStack() as stack:
        manager = ManagerProcess(tmp_path, port=port, mosquitto=tmp_path).start()
        stack.callback(manager.kill)
        stack.enter_context(MosquittoProcess(mosquitto, tmp_path, port=port, verbose=False))
        honest = MqttDevice(device, access)
        honest.start()
        stack.callback(honest.stop)

        def measured() -> None:
            with honest._lock:
                honest.publish([device.measure() for _ in range(WINDOWS)])

        def nothing_waits() -> bool:
            """Send again what is not acknowledged, as devices do: the broker may have dropped it."""
            with honest._lock:
                waiting = device.unacknowledged()
                honest.publish(waiting)
            time.sleep(0.5 if waiting else 0)
            return not waiting

        def acknowledged() -> None:
            eventually(nothing_waits, "what the honest device measured is acknowledged")

        measured()
        acknowledged()
        before = memory_bytes(manager.pid, "VmRSS")
        holder = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(tmp_path / "fleet.db")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        clients = [stack.enter_context(flooding(port, f"bad-{number}")) for number in range(FLOODING)]
        measured()
        eventually(
            lambda: all(f"ingest_shed device=bad-{number} " in log.read_text() for number in range(FLOODING)),
            "of each that floods something is shed",
        )
        assert device.unacknowledged(), "nothing is acknowledged that is not stored"
        assert holder.stdin is not None
        holder.stdin.close()
        acknowledged()
        peak = memory_bytes(manager.pid, "VmHWM")
        assert len(clients) == FLOODING
    assert peak - before <= ShareLimits().total_bytes + 32 * MIB
    assert "ingest_shed device=honest " not in log.read_text()
