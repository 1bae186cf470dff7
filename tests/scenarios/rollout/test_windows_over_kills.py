"""Thousands of windows while manager and broker are killed: none acknowledged is lost, and none is there twice."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner
from sqlalchemy import func, select

from edgemm.trust import signing
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.store import Store
from edgemm_fleet.store.schema import telemetry
from simulators.broker import FLEET, enrol
from simulators.device import MqttDevice, SimulatedDevice
from simulators.manager_process import ManagerProcess
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.waiting import eventually

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


def test_no_acknowledged_window_is_lost_and_none_is_doubled(tmp_path: Path, mosquitto: Path) -> None:
    director = signing.create_key(tmp_path / "director.pem").public_key
    port = free_port()
    access = BrokerAccess(host="127.0.0.1", port=port, tls=False, username="", password="pw")
    store = Store.open(tmp_path / "fleet.db")
    measuring = []
    with store.write() as tx:
        for number in range(DEVICES):
            signer, name = CryptoSigner.generate_ed25519(), f"cam-{number}"
            enrol(tx, name, signer, labels={})
            device = SimulatedDevice(FLEET, name, signer=signer, director=[director], now=time.time())
            measuring.append(Measuring(device, replace(access, username=name)))
    with ExitStack() as stack:
        stack.callback(store.close)
        manager = ManagerProcess(tmp_path, port=port, mosquitto=tmp_path)
        manager.start()
        stack.callback(manager.kill)
        broker = stack.enter_context(MosquittoProcess(mosquitto, tmp_path, port=port, verbose=False))
        for one in measuring:
            one.start()
            stack.callback(one.stop)
        for part in (1, 2, 3, 4):
            eventually(lambda part=part: _count(store) >= part * DEVICES * WINDOWS // 6, "windows are stored")  # type: ignore[misc]
            if part % 2:
                manager.kill()
                manager.start()
            else:
                broker.kill()
                broker.__enter__()
        eventually(lambda: all(one.is_done for one in measuring), "every window is acknowledged")
        with store.read() as tx:
            rows = tx.execute(select(telemetry.c.device, telemetry.c.boot, telemetry.c.sequence)).all()
        assert sorted(rows) == sorted(
            (one.device.id, one.device.boot, number) for one in measuring for number in range(1, WINDOWS + 1)
        )


def _count(store: Store) -> int:
    with store.read() as tx:
        return int(tx.execute(select(func.count()).select_from(telemetry)).scalar_one())
