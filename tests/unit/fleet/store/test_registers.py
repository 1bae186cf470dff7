from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.errors import ConflictError, NotFoundError, PermissionDeniedError
from edgemm.messages import DesiredModel
from edgemm_fleet.records.records import EnrolmentTokenRecord, ModelRecord, PersonToken, Role, VersionRecord
from edgemm_fleet.records.rollout_plan import Selector
from edgemm_fleet.store import Store, assignments, devices, enrolment_tokens, models, person_tokens
from simulators.broker import enrol

NOW = 1_800_000_000.0
KEY = CryptoSigner.generate_ed25519()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "fleet.db")
    yield store
    store.close()


def token(**changes: Any) -> EnrolmentTokenRecord:
    values: dict[str, Any] = {
        "id": "t-1",
        "labels": {"site": "north"},
        "uses_allowed": 2,
        "uses": 0,
        "created_by": "person:ann",
        "created_at": NOW,
        "expires_at": NOW + 60,
    }
    return EnrolmentTokenRecord(**values | changes)


def test_a_token_lets_in_as_many_devices_as_it_says(store: Store) -> None:
    with store.write() as tx:
        enrolment_tokens.add(tx, token(), secret_hash="h")
        enrolment_tokens.spend(tx, "t-1", now=NOW)
        enrolment_tokens.spend(tx, "t-1", now=NOW)
        with pytest.raises(PermissionDeniedError, match="good for 2 devices and used by as many; create another one"):
            enrolment_tokens.spend(tx, "t-1", now=NOW)
        found = enrolment_tokens.find(tx, "h")
    assert found == token(uses=2)


@pytest.mark.parametrize(
    ("change", "at", "message"),
    [
        ({}, NOW + 60, "it has expired"),
        ({"revoked_at": NOW}, NOW, "it was revoked"),
        ({"uses_allowed": 0}, NOW, "good for 0 devices"),
    ],
)
def test_a_token_that_does_not_hold_says_why(store: Store, change: dict[str, object], at: float, message: str) -> None:
    with store.write() as tx:
        enrolment_tokens.add(tx, token(**change), secret_hash="h")
        with pytest.raises(PermissionDeniedError, match=message):
            enrolment_tokens.spend(tx, "t-1", now=at)


def test_unknown_tokens_are_refused(store: Store) -> None:
    with store.write() as tx:
        with pytest.raises(PermissionDeniedError, match="unknown here"):
            enrolment_tokens.spend(tx, "nope", now=NOW)
        with pytest.raises(NotFoundError):
            enrolment_tokens.revoke(tx, "nope", now=NOW)
        with pytest.raises(NotFoundError):
            person_tokens.revoke(tx, "nope", now=NOW)


def test_a_persons_token_holds_until_it_expires_or_is_revoked(store: Store) -> None:
    record = PersonToken(id="p-1", person="ann", role=Role.OPERATOR, created_at=NOW, expires_at=NOW + 60)
    with store.write() as tx:
        person_tokens.add(tx, record, token_hash="h")
        assert person_tokens.find(tx, "h", now=NOW + 59) == record
        assert person_tokens.find(tx, "h", now=NOW + 60) is None
        assert person_tokens.find(tx, "other", now=NOW) is None
        person_tokens.revoke(tx, "p-1", now=NOW)
        assert person_tokens.find(tx, "h", now=NOW) is None


def test_a_device_is_found_by_id_bearer_and_enrolment_until_it_is_removed(store: Store) -> None:
    with store.write() as tx:
        enrol(tx, "cam-1", KEY, labels={"site": "north"})
        stored = devices.get(tx, "cam-1")
        assert devices.find(tx, "cam-1") == stored
        assert devices.find_by_enrolment(tx, token_id="t", key_id=stored.key_id) == stored
        assert devices.broker_hash(tx, "cam-1") is not None
        devices.remove(tx, "cam-1", now=NOW)
        assert devices.find(tx, "cam-1") is None
        assert devices.broker_hash(tx, "cam-1") is None
        assert devices.broker_hashes(tx) == []
        assert devices.page(tx).items == ()
        with pytest.raises(NotFoundError):
            devices.remove(tx, "cam-1", now=NOW)
        assert devices.get(tx, "cam-1").removed_at == NOW, "its history stays"


def test_one_id_is_one_device(store: Store) -> None:
    with store.write() as tx:
        enrol(tx, "cam-1", KEY, labels={})
        with pytest.raises(ConflictError, match="device cam-1: already enrolled"):
            enrol(tx, "cam-1", KEY, labels={})


def test_devices_are_selected_by_their_labels_of_now(store: Store) -> None:
    north = Selector(labels={"site": ("north",)})
    with store.write() as tx:
        enrol(tx, "cam-1", KEY, labels={"site": "north"})
        enrol(tx, "cam-2", KEY, labels={"site": "south"})
        assert [device.id for device in devices.matching(tx, north, model=None, now=NOW)] == ["cam-1"]
        devices.set_labels(tx, "cam-2", {"site": "north"})
        assert [device.id for device in devices.matching(tx, north, model=None, now=NOW)] == ["cam-1", "cam-2"]
        assert [
            device.id for device in devices.matching(tx, Selector(devices=("cam-2", "no")), model=None, now=NOW)
        ] == ["cam-2"]


def test_a_published_version_never_changes(store: Store) -> None:
    def version(digest: str) -> VersionRecord:
        return VersionRecord(
            model="m", version="1.0.0", digest=digest, size_bytes=3, published_by="person:ann", published_at=NOW
        )

    with store.write() as tx:
        models.add_model(tx, ModelRecord(name="m", publisher={}, minimum_version=None, created_at=NOW))
        models.add_blob(tx, "b", size_bytes=3, now=NOW)
        models.add_blob(tx, "b", size_bytes=3, now=NOW)
        models.add_version(tx, version("1" * 64), blob_digests=["b", "b"])
        models.add_version(tx, version("1" * 64), blob_digests=["b"])
        with pytest.raises(ConflictError, match="a version never changes: publish a higher one"):
            models.add_version(tx, version("2" * 64), blob_digests=["b"])
        assert [v.version for v in models.page_versions(tx, "m").items] == ["1.0.0"]


def test_only_an_attempt_without_success_asks_for_a_higher_one(store: Store) -> None:
    def attempt() -> int:
        return assignments.next_attempts(tx, {"cam-1": "1" * 64}, model="m")["cam-1"]

    model = DesiredModel(name="m", version="1.0.0", digest="1" * 64)
    with store.write() as tx:
        enrol(tx, "cam-1", KEY, labels={})
        assert attempt() == 1
        assignments.assign(tx, {"cam-1": model})
        assert attempt() == 1
        assignments.spend(tx, {"cam-1": 1}, model="m", digest="1" * 64)
        assert attempt() == 2
        assignments.assign(tx, {"cam-1": replace(model, attempt=2)})
        assignments.spend(tx, {"cam-1": 1}, model="m", digest="1" * 64)
        assert attempt() == 2, "a late report of the first attempt says nothing of the second"
