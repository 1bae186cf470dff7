"""The number of devices, kept by differences, is what a count of them finds."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.errors import NotFoundError
from edgemm_fleet.records.records import Device, Presence
from edgemm_fleet.store import Store, Transaction, devices
from edgemm_fleet.store.activity.census import Census
from simulators.broker import enrol

NAMES = [f"cam-{number}" for number in range(8)]


class Undone(Exception):  # noqa: N818 - of this test
    """Ends a transaction."""


def changed(tx: Transaction, name: str, signer: CryptoSigner, chance: random.Random, now: float) -> None:
    """Do something with a device."""
    known = devices.find(tx, name)
    match chance.randrange(5):
        case 0 if known is None and name not in {one.id for one in _removed(tx, name)}:
            enrol(tx, name, signer, labels={}, password="of a device")
        case 1 if known is not None:
            devices.remove(tx, name, now=now)
        case 2 if found := _removed(tx, name):
            devices.readmit(tx, found[0], bearer_hash=f"{name}-{now}", broker_hash="x")
        case 3 if known is not None:
            devices.set_presence(tx, name, Presence(online=chance.random() < 0.7, boot="b" * 16))
        case 4 if known is not None:
            after = Presence(online=chance.random() < 0.7, boot="c" * 16)
            devices.set_presence(tx, name, after, before=known.presence)


def _removed(tx: Transaction, name: str) -> list[Device]:
    with contextlib.suppress(NotFoundError):
        return [devices.get(tx, name)]
    return []


def counted(store: Store) -> tuple[int, int]:
    with store.read() as tx:
        found = devices.counts(tx)
    return found[True] + found[False], found[True]


def test_whatever_happens_it_is_what_a_count_finds(tmp_path: Path) -> None:
    chance = random.Random(14)
    signers = {name: CryptoSigner.generate_ed25519() for name in NAMES}
    store = Store.open(tmp_path / "fleet.db")
    seen = set()
    for turn in range(400):
        kept = chance.random() < 0.8
        with contextlib.suppress(Undone), store.write() as tx:
            for name in chance.sample(NAMES, 3):
                changed(tx, name, signers[name], chance, now=float(turn))
            if not kept:
                raise Undone
        assert (store.census.devices, store.census.online) == counted(store)
        seen.add(counted(store))
    assert len(seen) > 10
    with store.write() as tx:
        devices.all_offline(tx)
    assert (store.census.online, store.census.offline) == (0, counted(store)[0])
    store.close()
    again = Store.open(tmp_path / "fleet.db")
    assert (again.census.devices, again.census.online) == counted(again)
    again.close()


@pytest.mark.sqlite
@pytest.mark.parametrize("when", ["it is opened", "it is in doubt"])
def test_nobody_waits_for_the_writer_while_all_devices_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path, counts = tmp_path / "fleet.db", list[int]()
    Store.open(path).close()
    begin = Census.begin

    def beside(self: Census, **counted: int) -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        counts.append(counted["devices"])
        begin(self, **counted)

    monkeypatch.setattr(Census, "begin", beside)
    store = Store.open(path)
    if when == "it is in doubt":
        store.census.doubtful = True
        with store.write():
            pass
        assert not store.census.doubtful
    assert counts == [0] * (1 if when == "it is opened" else 2)
    store.close()
