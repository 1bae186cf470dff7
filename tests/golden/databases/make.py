"""A small database with rows in every table, written by whatever edgemm is on `PYTHONPATH`: also by one of long ago.

    git archive COMMIT core fleet simulators | tar -x -C OLD
    PYTHONPATH=OLD/core:OLD/fleet:OLD python tests/golden/databases/make.py 0001.db

It therefore keeps to functions that every edgemm had, and asks for the others before it calls them.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from edgemm.messages import Action
from simulators import broker
from simulators.broker import MODEL, START, LocalFleet, digest_of
from simulators.device import Outcome

try:
    from edgemm_fleet.records.records import EnrolmentTokenRecord, PersonToken, Role, VersionRecord
    from edgemm_fleet.records.rollout_plan import Group
    from edgemm_fleet.store import actions, devices, enrolment_tokens, models, person_tokens, rollouts
except ModuleNotFoundError:  # an edgemm from before these modules had their names
    from edgemm_fleet.rollout.plan import Group  # type: ignore[import-not-found, no-redef]
    from edgemm_fleet.store.records import (  # type: ignore[import-not-found, no-redef]
        EnrolmentTokenRecord,
        PersonToken,
        Role,
        VersionRecord,
    )

    from edgemm_fleet.store import actions, devices, models, rollouts
    from edgemm_fleet.store import people as person_tokens  # type: ignore[attr-defined, no-redef]
    from edgemm_fleet.store import tokens as enrolment_tokens  # type: ignore[attr-defined, no-redef]


def make(target: Path) -> None:
    """Write a database: devices of which one was updated, one hangs in it, and one is removed after it failed."""
    numbers = iter(range(1, 256))
    broker.CryptoSigner = _Numbered(numbers)  # type: ignore[attr-defined, assignment]  # in its place
    with tempfile.TemporaryDirectory() as name:
        fleet = LocalFleet(Path(name))
        _register(fleet)
        for device in ("cam-1", "cam-2", "cam-3"):
            fleet.add(device, site="hall")
        fleet.devices["cam-3"].detail = "sample 0 is 0.3 from what it should be"
        fleet.run("1.0.0", Group(percent=100))
        fleet.now += 60
        fleet.devices["cam-3"].outcomes[digest_of("2.0.0")] = Outcome.ERRORS
        fleet.devices["cam-1"].outcomes[digest_of("2.0.0")] = Outcome.HANG
        _disturb_once(fleet)
        fleet.run("2.0.0", Group(percent=100))
        fleet.now += 60
        fleet.deliver([device.measure() for device in fleet.devices.values()])
        _act(fleet)
        fleet.store.close()
        _compact(fleet.path, target)


class _Numbered:
    """Makes keys that anybody can make again."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers

    def generate_ed25519(self) -> CryptoSigner:
        """Return the next key."""
        number = next(self._numbers)
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def _register(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        for number, ended in enumerate((None, START + 5)):
            person = PersonToken(
                id=f"p{number}",
                person="ann",
                role=Role.OPERATOR,
                created_at=START,
                expires_at=START + 1e7,
                revoked_at=ended,
            )
            person_tokens.add(tx, person, token_hash=f"{number:064x}")
            token = EnrolmentTokenRecord(
                id=f"t{number}",
                labels={"site": "hall"},
                uses_allowed=None if ended else 5,
                uses=number,
                created_by="person:ann",
                created_at=START,
                expires_at=START + 1e6,
                revoked_at=ended,
            )
            enrolment_tokens.add(tx, token, secret_hash=f"{number + 16:064x}")
        models.add_blob(tx, "b" * 64, size_bytes=1234, now=START)
        version = VersionRecord(
            model=MODEL,
            version="4.0.0",
            digest=digest_of("4.0.0"),
            size_bytes=1234,
            published_by="person:ann",
            published_at=START,
        )
        models.add_version(tx, version, blob_digests=["b" * 64])
        models.set_minimum_version(tx, MODEL, "1.0.0")


def _disturb_once(fleet: LocalFleet) -> None:
    """Leave a gap in one device's numbers, which the database must remember."""
    fleet.devices["cam-2"].measure()


def _act(fleet: LocalFleet) -> None:
    with fleet.store.write() as tx:
        for number in range(2):
            actions.add(tx, "cam-2", Action(id=f"a-{number}", kind="diagnose"), now=fleet.now)
        told = "cam-2" if "device" in signature(fleet.director.write).parameters else ["cam-2"]
        fleet.director.write(tx, told, now=fleet.now)
    fleet.settle()
    with fleet.store.write() as tx:
        actions.add(tx, "cam-1", Action(id="a-2", kind="diagnose"), now=fleet.now)
        (newest, *_) = rollouts.page(tx).items
        if hasattr(rollouts, "note_trouble"):
            rollouts.note_trouble(tx, newest.id, "the store is full")
        devices.remove(tx, "cam-3", now=fleet.now)
    _shadow(fleet)


def _shadow(fleet: LocalFleet) -> None:
    try:
        from edgemm.messages import DesiredShadow
        from edgemm_fleet.store import shadows
    except ImportError:
        return
    wanted = DesiredShadow(version="3.0.0", digest=digest_of("3.0.0"), share=0.25)
    with fleet.store.write() as tx:
        shadows.put(tx, ["cam-1", "cam-2"], MODEL, wanted)


def _compact(source: Path, target: Path) -> None:
    connection = sqlite3.connect(source)
    target.unlink(missing_ok=True)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM INTO ?", (str(target),))
    connection.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
