"""A batch of which reports are passed over leaves what the same batch leaves where each is checked and taken."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from edgemm.messages import Reported
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_fleet.ingest.needless import covers, needless
from edgemm_fleet.ingest.reading import Incoming
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import schema
from simulators.broker import LocalFleet
from simulators.crowd.paced_device import PacedDevice
from simulators.device import Outgoing

pytestmark = pytest.mark.fleet
DEVICE, FORGER = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
QUIET = ("advance", "advance", "report", "report", "window", "desired", "forge")
STEPS = (*QUIET, "connect", "will", "restart", "retain")
TABLES = (schema.devices, schema.reported, schema.desired, schema.members, schema.events, schema.positions)
LEFT_OUT = {"fact", "id", "bearer_hash", "broker_hash"}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_passed_over_would_have_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("edgemm_fleet.director.director.secrets.randbelow", lambda _: 7)
    monkeypatch.setattr("edgemm_fleet.rollout.operations.secrets.token_hex", lambda _: "1")
    draw, passed = random.Random(seed), list[int]()
    batches = [draw.choices(draw.choice((QUIET, STEPS)), k=draw.randint(1, 9)) for _ in range(30)]

    def counted(*args: Any) -> Any:
        found = needless(*args)
        passed.append(len(found[0]))
        return found

    monkeypatch.setattr("edgemm_fleet.ingest.batch.needless", counted)
    skipped = _after(tmp_path / "skipped", batches)
    assert sum(passed) > 5
    monkeypatch.setattr("edgemm_fleet.ingest.batch.needless", lambda *_: (set(), {}))
    assert skipped == _after(tmp_path / "checked", batches)


def _after(folder: Path, batches: Sequence[Sequence[str]]) -> dict[str, Any]:
    folder.mkdir()
    fleet = LocalFleet(folder)
    fleet.add("cam-1")
    with fleet.store.write() as tx:
        tx.execute(schema.devices.update().values(key_id=DEVICE.public_key.keyid, key_json=_key()))
    device = PacedDevice(fleet.devices["cam-1"].fleet, "cam-1", signer=DEVICE, director=[fleet.signer.public_key])
    fleet.devices["cam-1"] = device
    fleet.deliver(device.connect())
    fleet.start(fleet.plan("1.0.0", Group(percent=100)))
    for steps in batches:
        said = [one for step in steps for one in _said(fleet, device, step)]
        fleet.ingest.process(said, now=fleet.now)
        fleet.now += 1.0
    with fleet.store.read() as tx:
        left: dict[str, Any] = {
            table.name: [
                {name: value for name, value in row._mapping.items() if name not in LEFT_OUT}
                for row in tx.execute(select(table))
            ]
            for table in TABLES
        }
    fleet.store.close()
    return left


def _key() -> str:
    return json.dumps(signing.key_document(DEVICE.public_key))


def _said(fleet: LocalFleet, device: PacedDevice, step: str) -> list[Incoming]:
    says: dict[str, Callable[[], list[Outgoing]]] = {
        "advance": lambda: device.advance("digits") if device.next_state("digits") is not None else [],
        "desired": fleet.send,
        "connect": device.connect,
        "will": lambda: [device._status(online=False, connection=device.connection)],
        "forge": lambda: [_forged(device.report())],
        "window": lambda: [device.measure()],
    }
    if step == "restart":
        device.restart()
    sent = says.get(step, lambda: [device.report()])()
    return [Incoming(one.topic, one.payload, step == "retain") for one in sent]


def _forged(report: Outgoing) -> Outgoing:
    said = signing.unseal(report.payload, PayloadType.REPORTED, Reported, keys=[DEVICE.public_key])
    return Outgoing(report.topic, signing.seal(said, PayloadType.REPORTED, FORGER))


def test_the_first_report_of_a_connection_is_never_needless() -> None:
    device = PacedDevice("lab", "cam-1", signer=DEVICE, director=[])
    first, second, third = (
        signing.unseal(device.report().payload, PayloadType.REPORTED, Reported, keys=[DEVICE.public_key])
        for _ in range(3)
    )
    assert (covers(second, first), covers(third, second), covers(second, third)) == (False, True, False)
    assert third.refused is UNSET
