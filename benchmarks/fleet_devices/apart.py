"""Devices that are enrolled by writing them into the database, where enrolment is measured apart."""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Mapping
from typing import Any

from benchmarks.fleet_devices.figures import Figures
from benchmarks.fleet_devices.phases import Scene
from edgemm import __version__
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.records.records import Device
from edgemm_fleet.store import devices as store_devices

_AT_ONCE = 500


def enrol_apart(scene: Scene) -> Figures:
    """Write all but one of each process into the database, and enrol that one, for the broker's files."""
    begun_s, store = time.monotonic(), scene.world.store()
    passwords = []
    for part in scene.all("keys", count=scene.total // len(scene.crowd) - 1):
        passwords.append({one["name"]: secrets.token_hex(16) for one in part})
        for start in range(0, len(part), _AT_ONCE):
            with store.write() as tx:
                for one in part[start : start + _AT_ONCE]:
                    hashes = {
                        "bearer_hash": secrets.token_hex(32),
                        "broker_hash": hash_password(passwords[-1][one["name"]]),
                    }
                    store_devices.add(tx, _device(one), **hashes)
    store.close()
    scene.all("enrol")
    for process, mine in zip(scene.crowd, passwords, strict=True):
        process.ask("enrolled", passwords=mine)
    scene.all("prepare")
    return {"apart": True, "seconds": round(time.monotonic() - begun_s, 1)}


def _device(made: Mapping[str, Any]) -> Device:
    return Device(
        id=made["name"],
        name=made["name"],
        labels={"site": f"plant-{zlib.crc32(made['name'].encode()) % 50}"},
        key=made["key"],
        key_id=made["id"],
        token_id="apart",
        runtime=__version__,
        platform="simulated",
        enrolled_at=time.time(),
    )
