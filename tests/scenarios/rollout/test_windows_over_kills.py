"""Windows while manager, broker and database are killed: none acknowledged is lost, and none is there twice."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner
from sqlalchemy import Column, Table, func, select

from edgemm.errors import EnvironmentFailure
from edgemm.trust import signing
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.store import Store
from edgemm_fleet.store.history import parts
from edgemm_fleet.store.history.history_tables import HistoryKind, latest, part_table
from edgemm_fleet.store.schema import positions
from simulators.broker import FLEET, enrol
from simulators.device import MqttDevice, SimulatedDevice
from simulators.manager_process import ManagerProcess
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.postgresql import SERVER, USER, Cluster, make_template, placed
from simulators.waiting import eventually
from tests.conftest import installed_postgresql

pytestmark = [pytest.mark.slow, pytest.mark.service]
DEVICES, WINDOWS = 8, 500
IN_FLIGHT = 64


class Measuring:
    """A device that measures, has so many windows in flight, and sends those again of which it heard nothing."""

    def __init__(self, device: SimulatedDevice, access: BrokerAccess) -> None:
        self.device = device
        self._carried = MqttDevice(device, access)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._carried.start()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._carried.stop()

    def _run(self) -> None:
        measured, waiting, heard_s = 0, 0, time.monotonic()
        while not self._over.wait(0.05):
            with self._carried._lock:
                before, waiting = waiting, len(self.device.unacknowledged())
                new = [self.device.measure() for _ in range(min(IN_FLIGHT - waiting, WINDOWS - measured, 16))]
                measured += len(new)
                self._carried.publish(new)
                if waiting < before or not waiting:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > 1.0:
                    heard_s = time.monotonic()
                    self._carried.publish(self.device.unacknowledged())
                waiting += len(new)
            if measured == WINDOWS and not waiting:
                return

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()


class Killed(Protocol):
    """A process that is killed, and started anew."""

    def kill(self) -> None: ...
    def start(self) -> object: ...


class Fleet:
    """A manager, its broker and its database, each in processes of its own; and devices that measure."""

    def __init__(self, folder: Path, mosquitto: Path, stack: ExitStack) -> None:
        director = signing.create_key(folder / "director.pem").public_key
        port = free_port()
        access = BrokerAccess(host="127.0.0.1", port=port, tls=False, username="", password="pw")
        self._store = Store.open(placed(folder / "fleet.db"))
        stack.callback(self._store.close)
        self.measuring = []
        with self._store.write() as tx:
            for number in range(DEVICES):
                signer, name = CryptoSigner.generate_ed25519(), f"cam-{number}"
                enrol(tx, name, signer, labels={})
                device = SimulatedDevice(FLEET, name, signer=signer, director=[director], now=time.time())
                self.measuring.append(Measuring(device, replace(access, username=name)))
        self.manager = ManagerProcess(folder, port=port, mosquitto=folder).start()
        stack.callback(self.manager.kill)
        self.broker = stack.enter_context(MosquittoProcess(mosquitto, folder, port=port, verbose=False))
        for one in self.measuring:
            one.start()
            stack.callback(one.stop)

    def survive(self, *killed: Killed) -> None:
        """Kill one after the other between windows that come, and start it anew."""
        for part, one in enumerate(killed, 1):
            enough = part * DEVICES * WINDOWS // (len(killed) + 2)
            eventually(lambda enough=enough: self._acknowledged() >= enough, "windows are stored")  # type: ignore[misc]
            one.kill()
            one.start()

    def _acknowledged(self) -> int:
        try:
            with self._store.read() as tx:
                return int(tx.execute(select(func.coalesce(func.sum(positions.c.contiguous), 0))).scalar_one())
        except EnvironmentFailure:
            return 0  # a connection from before the database was killed

    def verify(self) -> None:
        """Wait until all is acknowledged; one in ten of it and the newest are stored, each once, and nothing more."""
        eventually(lambda: all(one.is_done for one in self.measuring), "every window is acknowledged")
        assert self._acknowledged() == DEVICES * WINDOWS
        with self._store.read() as tx:
            tables = [part_table(HistoryKind.WINDOWS, part.number) for part in parts.parts_of(tx, HistoryKind.WINDOWS)]
            rows = [key for table in tables for key in tx.execute(select(*_key(table)))]
            newest = tx.execute(select(*_key(latest))).all()
        devices = [(one.device.id, one.device.boot) for one in self.measuring]
        assert sorted(rows) == sorted((*one, number) for one in devices for number in range(1, WINDOWS + 1, 10))
        assert sorted(newest) == sorted((*one, WINDOWS) for one in devices)


def _key(table: Table) -> list[Column[Any]]:
    return [table.c.device, table.c.boot, table.c.sequence]


def test_no_acknowledged_window_is_lost_and_none_is_doubled(tmp_path: Path, mosquitto: Path) -> None:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, mosquitto, stack)
        fleet.survive(fleet.manager, fleet.broker, fleet.manager, fleet.broker)
        fleet.verify()


@pytest.mark.service
def test_nor_over_postgresql_that_is_killed_as_well(
    tmp_path: Path, mosquitto: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_postgresql()
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster())
        make_template(cluster)
        monkeypatch.setenv(SERVER, f"postgresql://{USER}@127.0.0.1:{cluster.port}")
        fleet = Fleet(tmp_path, mosquitto, stack)
        fleet.survive(cluster, fleet.manager, fleet.broker, cluster, fleet.manager, cluster)
        fleet.verify()
