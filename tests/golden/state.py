"""What devices and the fleet manager keep on disk."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from edgemm import canonical
from edgemm.messages import ActionResult, Stream
from edgemm.states import UpdateState
from edgemm.trust.addresses import BrokerAddress, FleetAddresses, ServerAddress
from edgemm.trust.signing import key_document
from edgemm_fleet.client.profile import Profile, read_profile
from edgemm_fleet.records import json_text
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.records.waiting import RolloutWait, WaitKind
from edgemm_fleet.store import Store
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.spool.spool_database import SpoolDatabase, SpoolRow
from edgemm_runtime.agent.state.documents import (
    ActionsFile,
    BootFile,
    DirectorFile,
    Failure,
    IdentityFile,
    Installed,
    ModelFile,
    TimeFile,
    Transition,
    Update,
)
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.prediction_files import PredictionFiles
from edgemm_runtime.models.prediction_log import ClassOutput, Found, PredictionLog
from edgemm_runtime.write_budget import WriteBudget
from tests.golden.vector import DIRECTOR, Vector
from tests.golden.wire import BOOT, DESIRED, ENROLMENT_RESPONSE

IDENTITY = IdentityFile(
    url="https://fleet.example:8443",
    tls_fingerprint="cd" * 32,
    token_id="0123456789abcdef",
    fleet="home",
    device=ENROLMENT_RESPONSE.device,
    bearer=ENROLMENT_RESPONSE.bearer,
    broker=ENROLMENT_RESPONSE.broker,
    root=ENROLMENT_RESPONSE.root,
)
ADDRESSES = FleetAddresses(
    fleet="home",
    servers=(
        ServerAddress(url="https://new.example:8443", pins=("ef" * 32, "cd" * 32)),
        ServerAddress(url="https://fleet.example:8443", pins=("cd" * 32,)),
    ),
    brokers=(BrokerAddress(host="new.example", port=8883, ca="PEM"),),
    revoked=("ab" * 32,),
)
PLAN = RolloutPlan(
    model="digits",
    version="1.0.0",
    digest="a" * 64,
    groups=(Group(count=1), Group(percent=100, approve=True)),
).with_requirements()
PERSON = RolloutWait.begun(WaitKind.PERSON, reason="group 2 needs a person's approval", now=1_800_000_000.0)
WAITING = RolloutWait.begun(WaitKind.PAUSE, reason="a storm", now=1_800_000_060.0, limit_s=3600.0, interrupted=PERSON)
FAILED = Failure(digest="d" * 64, attempt=1, state=UpdateState.FAILED, reason="selftest_failed", detail="sample 0")
MODEL = ModelFile(
    name="wake-word",
    update=Update(target=DESIRED.models[1], state=UpdateState.PROBATION, variant="tflite:int8", power_losses=1),
    active=Installed(digest="b" * 64, version="2.1.0-rc.1", variant="tflite:int8", threads=2),
    previous=Installed(digest="c" * 64, version="2.0.0", variant="onnx:float32"),
    failures=(FAILED,),
    serial=12,
    pending=(
        Transition(
            serial=12,
            cause="activated",
            digest="b" * 64,
            version="2.1.0-rc.1",
            attempt=2,
            rollout="r-12",
            from_state=UpdateState.ACTIVATING,
            to_state=UpdateState.PROBATION,
        ),
    ),
)
SPOOLED = [(Stream.EVENT, 1, b"{}"), (Stream.TELEMETRY, 1, b"\x80")]
BUDGET = WriteBudget(day_bytes=2**25, left_bytes=4_000_000, as_of_s=86_400.25)
PROFILE = Profile(url=IDENTITY.url, token="emp1_secret", tls_fingerprint="cd" * 32, root=IDENTITY.root)

CLASSIFIER = ClassOutput(ServedKey("digits", "1.2.0", "e" * 64, "tflite:int8"), "y", ("ant", "bee", "schöne Tür"), 3)
LABELLED = [("door-17", [2], {0}), ("schöne Tür", [0, 1, 2], {1}), ("9", [1], set[int]())]
"""Predictions by their ids: the class of each row, and the rows that have their label."""


def _document(golden: str, value: msgspec.Struct, *, name: str | None = None) -> Vector:
    """A document of a device's state folder, read as the agent reads it under its name there."""
    name = name or golden

    def read(data: bytes) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            state = StateFolder(Path(folder))
            try:
                state.path(name).write_bytes(data)
                return state.read(name, type(value))
            finally:
                state.close()

    return Vector(f"device/{golden}", value, canonical.encode, read)


def _write_spool(messages: Iterable[tuple[Stream, int, bytes]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool.sqlite", SpoolSettings(boot=BOOT, boot_count=4, max_bytes=10_000))
        for stream, sequence, body in messages:
            assert spool.add(stream, body, sequence=sequence)
        spool.close()
        return _dump(Path(folder) / "spool.sqlite")


def _read_spool(data: bytes) -> list[tuple[Stream, int, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.sqlite"
        _restore(path, data)
        spool = Spool(path, SpoolSettings(boot="f" * 16, boot_count=5, max_bytes=10_000))
        found = [(m.stream, m.sequence, m.body) for m in spool.after(0, limit=10)]
        spool.close()
        return found


def _write_budget(budget: WriteBudget) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.sqlite"
        database = SpoolDatabase(path)
        database.budget(budget.day_bytes, now_s=0)
        rows = [SpoolRow(number, BOOT, 4, *message) for number, message in enumerate(SPOOLED, start=1)]
        database.commit(rows, gone={}, budget=budget, most=0)
        database.close()
        return _dump(path)


def _read_budget(data: bytes) -> WriteBudget:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.sqlite"
        _restore(path, data)
        database = SpoolDatabase(path)
        found = database.budget(BUDGET.day_bytes, now_s=BUDGET.as_of_s)
        database.close()
        return found


def _write_predictions(predictions: Iterable[tuple[str, list[int], set[int]]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(max_bytes=2**20)
        for known_by, indices, labelled in predictions:
            log.add(known_by, CLASSIFIER, indices)
            for row in labelled:
                log.add_label(known_by, CLASSIFIER, row)
        files = PredictionFiles(Path(folder), day_bytes=2**23, now_s=lambda: 86_400.25)
        [segment] = log.segments
        files.write("given", log, [(segment, bytes(segment.data))], spare=0)
        files.close()
        return (Path(folder) / "given-00000001.log").read_bytes()


def _read_predictions(data: bytes) -> list[tuple[str, list[int], set[int]]]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "given-00000001.log").write_bytes(data)
        files = PredictionFiles(Path(folder), day_bytes=2**23)
        log = PredictionLog(max_bytes=2**20, segments=files.read("given"))
        files.close()
        assert files.damaged == 0
        return [(known_by, *_found(log.find("digits", known_by))) for known_by, _, _ in LABELLED]


def _found(found: Found | None) -> tuple[list[int], set[int]]:
    assert found is not None
    assert (found.classes.key, found.classes.labels) == (CLASSIFIER.key, CLASSIFIER.labels)
    return list(found.indices), set(found.labelled)


def _write_database(_: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Store.open(Path(folder) / "fleet.db").close()
        return _dump(Path(folder) / "fleet.db")


def _read_database(data: bytes) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        _restore(path, data)
        Store.open(path).close()
        return True


def _dump(path: Path) -> bytes:
    """Return a database as SQL text, which shows what changed where it did."""
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    # SQLAlchemy makes a table's indexes in no particular order.
    statements = [s for s in connection.iterdump() if s not in {"BEGIN TRANSACTION;", "COMMIT;"}]
    text = "\n".join(sorted(statements, key=lambda s: s if " INDEX " in s.split("(")[0] else ""))
    connection.close()
    return f"{text}\nPRAGMA user_version = {version};\n".encode()


def _restore(path: Path, data: bytes) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(data.decode())
    connection.close()


def _write_stored(value: msgspec.Struct) -> bytes:
    return json_text.written(value).encode()


def _write_line(value: msgspec.Struct) -> bytes:
    return canonical.encode(value) + b"\n"


def _read_config(data: bytes) -> FleetConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = FleetFolder(Path(folder))
        path.config.write_bytes(data)
        return path.read_config()


def _read_profile(data: bytes) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        path.write_bytes(data)
        return read_profile(path)


VECTORS = [
    _document("identity.json", IDENTITY),
    _document("boot.json", BootFile(count=4)),
    _document("time.json", TimeFile(trusted="2026-01-02T03:04:05Z")),
    _document(
        "time-1.1.json",
        TimeFile(trusted="2026-01-02T03:04:05Z", ahead_s=157_680_000, since="2026-01-02T03:00:00Z"),
        name="time.json",
    ),
    _document("director.json", DirectorFile(fleet="home", keys=(key_document(DIRECTOR.public_key),))),
    _document("addresses-1.0.json", ADDRESSES),
    _document("actions.json", ActionsFile(results=(ActionResult(id="a-1", ok=True),))),
    _document("models/wake-word.json", MODEL),
    Vector("device/spool.sql", SPOOLED, _write_spool, _read_spool),
    Vector("device/spool-budget.sql", BUDGET, _write_budget, _read_budget),
    Vector("device/feedback/given.log", LABELLED, _write_predictions, _read_predictions),
    Vector("fleet/fleet.json", FleetConfig(name="home", public_url=IDENTITY.url), _write_line, _read_config),
    Vector("fleet/profile.json", PROFILE, _write_line, _read_profile),
    Vector("fleet/database.sql", True, None, _read_database),
    Vector("fleet/database-with-shadows.sql", True, None, _read_database),
    Vector("fleet/database-with-history.sql", True, None, _read_database),
    Vector("fleet/database-with-doubts.sql", True, None, _read_database),
    Vector("fleet/database-with-generations.sql", True, None, _read_database),
    Vector("fleet/database-with-token-roots.sql", True, None, _read_database),
    Vector("fleet/database-with-empty-groups.sql", True, None, _read_database),
    Vector("fleet/database-with-withdrawn-versions.sql", True, None, _read_database),
    Vector("fleet/database-with-waiting.sql", True, None, _read_database),
    Vector("fleet/database-with-member-counts.sql", True, _write_database, _read_database),
    Vector("fleet/plan-with-approval.json", PLAN, _write_stored, lambda data: json_text.read(data, RolloutPlan)),
    Vector("fleet/waiting.json", WAITING, _write_stored, lambda data: json_text.read(data, RolloutWait)),
]
