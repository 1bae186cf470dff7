"""A fleet whose devices only measure: its store, its logins, and windows of about 440 bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import topics
from edgemm.messages import ModelCounters, SpoolGauges, SystemGauges, Telemetry
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.director.director import Director
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, devices
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from simulators.broker import FLEET, START, enrol

PASSWORD = "a password of 128 random bits"


def name(number: int) -> str:
    """Return the id of a device."""
    return f"cam-{number:06d}"


def enrol_all(folder: Path, count: int, database: DatabaseAddress | None = None) -> list[tuple[str, str]]:
    """Make the store and the director's key in a folder; return (user name, password hash) of each device.

    `database`: where the store is, if not in the folder.
    """
    signing.create_key(folder / "director.pem")
    signer, hashed = CryptoSigner.generate_ed25519(), hash_password(PASSWORD)
    store = Store.open(database or folder / "fleet.db")
    with store.write() as tx:
        enrol(tx, name(0), signer, labels={"site": "north", "ring": "stable"}, password=PASSWORD)
        first = devices.get(tx, name(0))
        for number in range(1, count):
            bearer = hashlib.sha256(name(number).encode()).hexdigest()
            devices.add(tx, replace(first, id=name(number)), bearer_hash=bearer, broker_hash=hashed)
    store.close()
    return [(name(number), hashed) for number in range(count)]


def ingest_of(store: Store, folder: Path) -> Ingest:
    """Return the real ingest of a folder that `enrol_all` made."""
    director = Director(FLEET, signing.load_key(folder / "director.pem"))
    return Ingest(store, fleet=FLEET, director=director, runner=Runner(director))


class Windows:
    """The windows of one device, by number from 1."""

    def __init__(self, number: int) -> None:
        self.topic = topics.topic(FLEET, name(number), Channel.TELEMETRY)
        boot = hashlib.sha256(f"boot of {number}".encode()).digest()[:8]
        counters = tuple(
            ModelCounters(
                name=model,
                digest=hashlib.sha256(model.encode()).digest(),
                variant="tflite:int8",
                requests=123_456,
                errors=12,
                latency_sum_us=98_765_432,
                latency_counts=(0, 0, 17, 4_021, 91_223, 20_011, 801, 412, 96, 21, 6, 2, 1, 1),
            )
            for model in ("digits", "defects", "keywords")
        )
        system = SystemGauges(temperature_c=61.5, load_1m=0.75, memory_available_bytes=512 << 20, rss_bytes=70 << 20)
        self._like = Telemetry(
            boot=boot,
            sequence=1,
            floor=1,
            time_s=int(START),
            uptime_s=60,
            models=counters,
            system=system,
            spool=SpoolGauges(waiting=12, dropped=0, written_bytes=1 << 20),
        )

    def payload(self, sequence: int) -> bytes:
        """Return a window as it is sent."""
        return msgspec.msgpack.encode(replace(self._like, sequence=sequence, uptime_s=60 * sequence))
