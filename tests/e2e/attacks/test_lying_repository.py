"""Who has the fleet manager's address and certificate, and none of its keys, or the online ones of the repository."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from edgemm.messages import Desired, DesiredModel
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from simulators.lying_repository import endless
from simulators.models import make_bundle
from simulators.waiting import eventually
from tests.e2e.attacks.attacked import SERVED, AttackedFleet

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]
MIB = 1024 * 1024
TIMESTAMP, SNAPSHOT, MODEL_ROLE = (rf"/tuf/metadata/{name}" for name in ("timestamp", r"\d+\.snapshot", r"\d+\.model-"))
TARGET, BLOB = "/tuf/targets/models/", "/api/v1/blobs/"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[AttackedFleet]:
    with AttackedFleet(tmp_path_factory.mktemp("repository")) as fleet:
        yield fleet.up_with_liars(mosquitto)


@pytest.fixture(autouse=True)
def serving(attacked: AttackedFleet) -> Iterator[None]:
    """Predictions are answered through every attack, and afterwards the next version arrives."""
    with attacked.serving():
        yield
    attacked.repository.be_honest()


def newest(fleet: AttackedFleet, role: str) -> bytes:
    """Return the newest metadata of a role, as anybody may fetch it."""
    folder = fleet.folder / "tuf" / "metadata"
    if role == "timestamp":
        return (folder / "timestamp.json").read_bytes()
    return max(folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0])).read_bytes()


def test_arbitrary_package(attacked: AttackedFleet, tmp_path: Path) -> None:
    device, repository = attacked.victims[0], attacked.repository
    own = make_bundle(tmp_path / "own.edgemm", version="9.9.9", seed=99).encode()
    repository.lie(TARGET, lambda _: own)
    attacked.holds(device, attacked.publish_next(), "untrusted")
    repository.be_honest()
    repository.lie(BLOB, lambda honest: bytes(byte ^ 1 for byte in honest))
    attacked.holds(device, attacked.publish_next(), "damaged")
    repository.be_honest()
    version = attacked.publish_next()
    role = Metadata[Targets].from_bytes(newest(attacked, "model-tiny"))
    path = roles.target_path("tiny", version)
    role.signed.targets[path] = TargetFile.from_data(path, own, ["sha256"])
    role.signed.targets[path].unrecognized_fields["custom"] = {"minimum_version": "0.0.0"}
    role.sign(CryptoSigner.generate_ed25519())
    repository.lie(MODEL_ROLE, lambda _: role.to_bytes())
    repository.lie(TARGET, lambda _: own)
    attacked.holds(device, version, "untrusted")
    attacked.heals(device)


def test_arbitrary_director(attacked: AttackedFleet) -> None:
    """A new device is told of a director who is none: it obeys nobody until it hears of the true one."""
    thief = CryptoSigner.generate_ed25519()
    own = roles.director_document(attacked.name, (thief.public_key,))
    attacked.repository.lie(r"/tuf/targets/\w+\.director\.json", lambda _: own)
    device = attacked.victim("newcomer")
    digest = attacked.digest_of(SERVED)
    wish = Desired(
        fleet=attacked.name, device=device.id, generation=5, not_before="2020-01-01T00:00:00Z",
        expires="2040-01-01T00:00:00Z", models=(DesiredModel(name="tiny", version=SERVED, digest=digest),),
    )  # fmt: skip
    attacked.forge(device, Channel.DESIRED, signing.seal(wish, PayloadType.DESIRED, thief))
    device.program.wait_for("(director's keys not fetched)")
    eventually(lambda: "desired_untrusted" in device.refusals(), "it tells that nobody it knows signed this")
    assert device.report()["reported"]["models"] == []
    attacked.heals(device)


@pytest.mark.parametrize("where", [TIMESTAMP, SNAPSHOT, MODEL_ROLE, TARGET, BLOB])
def test_endless_data(attacked: AttackedFleet, where: str) -> None:
    device = attacked.victims[1]
    peak, kept = device.peak_bytes(), device.kept_bytes()
    version = attacked.publish_next()
    attacked.repository.lie(where, lambda _: endless())
    attacked.holds(device, version, "untrusted", "damaged")
    assert attacked.repository.sent_bytes > 0, "it asked"
    assert device.peak_bytes() - peak < 32 * MIB
    assert device.kept_bytes() - kept < MIB


def test_extraneous_dependencies(attacked: AttackedFleet) -> None:
    device, thief = attacked.victims[0], CryptoSigner.generate_ed25519()
    version = attacked.publish_next()
    targets = Metadata[Targets].from_bytes(newest(attacked, "targets"))
    now = datetime.now(UTC)
    more = roles.authorise(targets, "parasite", thief.public_key, signer=thief, now=now, lifetimes=DEFAULT_LIFETIMES)
    attacked.repository.lie(r"/tuf/metadata/\d+\.targets", lambda _: serialize(more))
    following = Metadata[Timestamp].from_bytes(newest(attacked, "timestamp"))
    following.signed.version += 1
    following.sign(thief)
    attacked.repository.lie(TIMESTAMP, lambda _: serialize(following))
    attacked.holds(device, version, "untrusted")
    assert [model["name"] for model in device.report()["reported"]["models"]] == ["tiny"]
    attacked.heals(device)


def test_indefinite_freeze(attacked: AttackedFleet) -> None:
    device, key = attacked.victims[0], signing.load_key(attacked.folder / "keys" / "timestamp.pem")
    yesterday, snapshot = newest(attacked, "timestamp"), newest(attacked, "snapshot")
    attacked.repository.lie(TIMESTAMP, lambda _: yesterday)
    attacked.repository.lie(SNAPSHOT, lambda _: snapshot)
    attacked.holds(device, attacked.publish_next(), "untrusted")
    # A day later: as the manager signed it, but for the day until which it holds.
    recorded = Metadata[Timestamp].from_bytes(yesterday)
    recorded.signed.version += 1
    recorded.signed.expires = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=0)
    recorded.sign(key)
    attacked.repository.lie(TIMESTAMP, lambda _: serialize(recorded))
    version, before = attacked.publish_next(), device.version()
    attacked.begin(version, device)
    device.program.wait_for("(step failed reason=expired failures=3)")
    assert device.version() == before
    assert device.state_of(version) == ("accepted", None)
    attacked.repository.be_honest()
    assert device.wait_for_state(version, "committed") == ("committed", None)


def test_mix_and_match(attacked: AttackedFleet) -> None:
    device = attacked.victims[0]
    for where, role in ((SNAPSHOT, "snapshot"), (MODEL_ROLE, "model-tiny")):
        old = newest(attacked, role)
        version = attacked.publish_next()
        attacked.repository.lie(where, lambda _, old=old: old)  # type: ignore[misc]
        attacked.holds(device, version, "untrusted")
        attacked.repository.be_honest()
    attacked.heals(device)


def test_replay_of_metadata(attacked: AttackedFleet) -> None:
    device = attacked.victims[0]
    old = {role: newest(attacked, role) for role in ("timestamp", "snapshot", "model-tiny")}
    attacked.heals(device)  # now it has seen later ones
    for where, role in ((TIMESTAMP, "timestamp"), (SNAPSHOT, "snapshot"), (MODEL_ROLE, "model-tiny")):
        attacked.repository.lie(where, lambda _, role=role: old[role])  # type: ignore[misc]
    attacked.holds(device, attacked.publish_next(), "untrusted")
    attacked.heals(device)


@pytest.mark.parametrize("where", [TIMESTAMP, BLOB])
def test_slow_retrieval(attacked: AttackedFleet, where: str) -> None:
    device, repository = attacked.victims[1], attacked.repository
    version, before = attacked.publish_next(), device.version()
    repository.be_honest()
    repository.lie(where, repository.slowly)
    attacked.begin(version, device)
    eventually(lambda: sum(where in path or "timestamp" in path for path in repository.asked) >= 2, "it asks again")
    heard = _telemetry(attacked)
    eventually(lambda: _telemetry(attacked) > heard + 2, "it goes on reporting meanwhile")
    assert device.version() == before
    assert device.state_of(version) in {("accepted", None), ("downloading", None)}
    repository.be_honest()
    assert device.wait_for_state(version, "committed") == ("committed", None)


def test_partial_bundle(attacked: AttackedFleet) -> None:
    device, repository = attacked.victims[1], attacked.repository
    version, before = attacked.publish_next(), device.version()
    repository.be_honest()
    seen: list[str] = []

    def all_but_the_first(honest: bytes) -> bytes | int:
        path = repository.asked[-1]
        if path not in seen:
            seen.append(path)
        return honest if path == seen[0] else 503

    repository.lie(BLOB, all_but_the_first)
    attacked.begin(version, device)
    eventually(lambda: len(seen) > 1 and repository.asked.count(seen[1]) > 2, "it asks for the rest again and again")
    assert device.version() == before
    assert device.state_of(version) == ("downloading", None)
    repository.be_honest()
    assert device.wait_for_state(version, "committed") == ("committed", None)
    assert device.version() == version


def test_stolen_timestamp_and_snapshot_keys(attacked: AttackedFleet) -> None:
    """They can withhold, and stop updates for good; they can neither add a version nor bring one back."""
    device = attacked.victim("fast-forwarded")
    attacked.victims.append(device)
    attacked.heals(device)
    keys = {role: signing.load_key(attacked.folder / "keys" / f"{role}.pem") for role in ("timestamp", "snapshot")}
    version = attacked.publish_next()
    snapshot = Metadata[Snapshot].from_bytes(newest(attacked, "snapshot"))
    timestamp = Metadata[Timestamp].from_bytes(newest(attacked, "timestamp"))

    def told(role_version: int, number: int) -> None:
        snapshot.signed.meta["model-tiny.json"] = MetaFile(role_version)
        snapshot.signed.version = number
        snapshot.sign(keys["snapshot"])
        timestamp.signed.snapshot_meta = MetaFile(number)
        timestamp.signed.version = number
        timestamp.sign(keys["timestamp"])
        attacked.repository.lie(SNAPSHOT, lambda _: serialize(snapshot))
        attacked.repository.lie(TIMESTAMP, lambda _: serialize(timestamp))

    current = snapshot.signed.meta["model-tiny.json"].version
    told(current - 1, int(time.time()))
    attacked.holds(device, version, "untrusted")
    version = attacked.publish_next()
    told(current + 9, int(time.time()) + 1)  # a version of the role that its publisher never signed
    role = Metadata[Targets].from_bytes(newest(attacked, "model-tiny"))
    role.signed.version = current + 9
    role.sign(CryptoSigner.generate_ed25519())
    attacked.repository.lie(MODEL_ROLE, lambda _: role.to_bytes())
    attacked.holds(device, version, "untrusted")
    attacked.repository.be_honest()
    version = attacked.publish_next()
    told(current, 2**40)  # now all that the manager signs is old to this device, until the keys are replaced
    attacked.holds(device, version, "untrusted")
    attacked.repository.be_honest()
    attacked.holds(device, attacked.publish_next(), "untrusted")


def _telemetry(fleet: AttackedFleet) -> float:
    return fleet.metric('edgemm_fleet_messages_total{result="received_telemetry"}')
