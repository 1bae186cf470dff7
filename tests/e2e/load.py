"""Clients that ask a device, without a pause unless told otherwise, and remember every answer."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Self

import urllib3

from tests.e2e.fleets import Device, X


class Load:
    """One client on each device for as long as the block lasts."""

    def __init__(self, devices: list[Device], *, pause_s: float = 0.002) -> None:
        self.answers: dict[str, Counter[str]] = {device.name: Counter() for device in devices}
        self.failures: list[str] = []
        self._over, self._pause_s = threading.Event(), pause_s
        self._threads = [threading.Thread(target=self._ask, args=(d.name, d.address)) for d in devices]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str, address: str) -> None:
        with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
            while not self._over.wait(self._pause_s):
                try:
                    answer = pool.request("POST", f"{address}/predict", json={"inputs": X})
                except urllib3.exceptions.HTTPError as err:
                    self.failures.append(f"{name}: {err}")
                    continue
                if answer.status == 200:
                    self.answers[name][answer.json()["version"]] += 1
                else:
                    self.failures.append(f"{name}: {answer.status} {answer.data!r}")
