"""What a device believes of the version repository, over real TUF metadata and HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm import times
from edgemm.canonical import sha256
from edgemm.errors import (
    BundleError,
    EdgemmError,
    ExpiredError,
    ReplayError,
    TrustError,
    UnreachableError,
    UnsupportedError,
    WithdrawnError,
)
from edgemm.messages import DesiredModel
from edgemm.trust.enrolment import TUF_METADATA_PATH, TUF_TARGETS_PATH
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.update.trusted_versions import TrustedVersions, director_document
from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle

TIMESTAMP = f"{TUF_METADATA_PATH}timestamp.json"


class _Device:
    """One device's client; each call of `repository` is a new start with the same cache."""

    def __init__(self, fleet: SimulatedFleet, folder: Path) -> None:
        self.fleet, self.folder = fleet, folder
        self.seconds = float(times.from_text(times.to_text(_now())))
        folder.mkdir()
        fleet._bearers["b"] = "pi"

    def repository(self) -> TrustedVersions:
        server = FleetConnection(
            self.fleet.url, tls_fingerprint=None, connect_timeout_s=5, read_timeout_s=5, bearer="b"
        )
        now = TrustedTime(self.seconds, clock_synced=True)
        return TrustedVersions(self.folder, server, root=self.fleet.tuf.root, now=lambda: now)


def _now() -> float:
    import time

    return time.time()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    with SimulatedFleet(broker=False) as fleet:
        for seed, version in enumerate(("1.0.0", "2.0.0")):
            path = tmp_path / f"{version}.edgemm"
            make_bundle(path, version=version, seed=seed, variants=("tflite:float32",))
            fleet.publish(path)
        yield fleet


@pytest.fixture
def device(fleet: SimulatedFleet, tmp_path: Path) -> _Device:
    return _Device(fleet, tmp_path / "tuf")


def _wanted(fleet: SimulatedFleet, version: str = "1.0.0") -> DesiredModel:
    return fleet.model("tiny", version)


def test_a_published_manifest_is_trusted(fleet: SimulatedFleet, device: _Device) -> None:
    manifest, data = device.repository().manifest(_wanted(fleet))
    assert (manifest.version, sha256(data)) == ("1.0.0", _wanted(fleet).digest)


def test_the_director_is_named_by_the_repository(fleet: SimulatedFleet, device: _Device) -> None:
    document = director_document(device.repository().documents().director, fleet="home")
    assert document.keys[0]["keyval"] == fleet.director.public_key.keyval
    with pytest.raises(TrustError, match="expected fleet 'away', found 'home'"):
        director_document(device.repository().documents().director, fleet="away")


def test_desired_names_another_digest(fleet: SimulatedFleet, device: _Device) -> None:
    with pytest.raises(TrustError, match="desired names sha256 000000000000…, the publisher signed"):
        device.repository().manifest(replace(_wanted(fleet), digest="0" * 64))


def test_desired_names_what_nobody_published(fleet: SimulatedFleet, device: _Device) -> None:
    with pytest.raises(TrustError, match="found none: it is not published"):
        device.repository().manifest(replace(_wanted(fleet), version="9.0.0"))
    with pytest.raises(TrustError, match="found none: it is not published"):
        device.repository().manifest(replace(_wanted(fleet), name="other"))


def test_a_server_that_lost_what_the_device_has_seen(fleet: SimulatedFleet, device: _Device, tmp_path: Path) -> None:
    before = fleet.tuf._snapshot
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3")
    device.repository().manifest(_wanted(fleet, "3.0.0"))
    fleet.tuf._snapshot = before
    fleet.tuf.renew(datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(TrustError, match="this device has seen newer metadata.*keys rotate snapshot timestamp"):
        device.repository().manifest(_wanted(fleet, "2.0.0"))


def test_a_length_that_a_snapshot_announces_is_no_limit(fleet: SimulatedFleet, device: _Device) -> None:
    assert fleet.tuf._snapshot is not None
    fleet.tuf._snapshot.signed.meta["targets.json"].length = 10**10
    fleet.tuf.renew(datetime.now(UTC) + timedelta(minutes=1))
    version = fleet.tuf._snapshot.signed.meta["targets.json"].version
    fleet.tuf.files[f"{TUF_METADATA_PATH}{version}.targets.json"] += bytes(6_000_000)
    with pytest.raises(TrustError, match="more than 5,000,000 bytes"):
        device.repository().manifest(_wanted(fleet))


def test_a_version_below_the_signed_minimum(fleet: SimulatedFleet, device: _Device, tmp_path: Path) -> None:
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3", minimum="2.0.0")
    with pytest.raises(ReplayError, match=r"tiny 1\.0\.0 is below the signed minimum version 2\.0\.0"):
        device.repository().manifest(_wanted(fleet, "1.0.0"))
    device.repository().manifest(_wanted(fleet, "2.0.0"))


def test_a_minimum_that_went_down_is_followed_and_what_was_withdrawn_is_told(
    fleet: SimulatedFleet, device: _Device, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3", minimum="3.0.0")
    with pytest.raises(ReplayError, match=r"below the signed minimum version 3\.0\.0"):
        device.repository().manifest(_wanted(fleet, "2.0.0"))
    fleet.tuf.withdraw("tiny", "3.0.0", minimum="1.0.0")
    assert device.repository().manifest(_wanted(fleet, "2.0.0"))[0].version == "2.0.0"
    with pytest.raises(WithdrawnError, match=r"tiny 3\.0\.0 was withdrawn by an administrator"):
        device.repository().manifest(_wanted(fleet, "3.0.0"))


@pytest.mark.parametrize("custom", [{"notes": "for boards"}, {"requires": []}], ids=str)
def test_what_a_later_publisher_signed_beside_a_version_is_ignored_unless_it_restricts(
    fleet: SimulatedFleet, device: _Device, tmp_path: Path, custom: dict[str, object]
) -> None:
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3", custom=custom)
    assert device.repository().manifest(_wanted(fleet, "3.0.0"))[0].version == "3.0.0"


@pytest.mark.parametrize(
    ("custom", "refusal"),
    [
        ({"requires": ["boards"], "boards": ["pi-5"]}, UnsupportedError("needs boards, which edgemm .* does not know")),
        ({"requires": "boards"}, TrustError("Expected `array`")),
        ({"minimum_version": ["1.0.0"]}, TrustError("expected a signed minimum_version")),
    ],
    ids=str,
)
def test_what_a_later_publisher_signed_closes_where_it_restricts(
    fleet: SimulatedFleet, device: _Device, tmp_path: Path, custom: dict[str, object], refusal: EdgemmError
) -> None:
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3", custom=custom)
    with pytest.raises(type(refusal), match=str(refusal)):
        device.repository().manifest(_wanted(fleet, "3.0.0"))


def test_metadata_that_was_changed(fleet: SimulatedFleet, device: _Device) -> None:
    path = next(p for p in fleet.http.files if p.endswith("model-tiny.json") and "/2." in p)
    fleet.http.files[path] = fleet.http.files[path].replace(b"0.0.0", b"9.9.9")
    with pytest.raises(TrustError, match="version repository"):
        device.repository().manifest(_wanted(fleet))


def test_a_target_that_was_changed(fleet: SimulatedFleet, device: _Device) -> None:
    path = next(p for p in fleet.http.files if p.startswith(TUF_TARGETS_PATH) and p.endswith(".1.0.0.json"))
    data = fleet.http.files[path]
    fleet.http.files[path] = data[:-1] + b" "
    with pytest.raises(TrustError, match="version repository"):
        device.repository().manifest(_wanted(fleet))
    fleet.http.files[path] = data + bytes(1000)
    with pytest.raises(TrustError, match="version repository"):
        device.repository().manifest(_wanted(fleet))


def test_an_older_timestamp_is_a_replay(fleet: SimulatedFleet, device: _Device, tmp_path: Path) -> None:
    old = fleet.http.files[TIMESTAMP]
    make_bundle(tmp_path / "3", version="3.0.0", seed=3, variants=("tflite:float32",))
    fleet.publish(tmp_path / "3")
    device.repository().manifest(_wanted(fleet))
    fleet.http.files[TIMESTAMP] = old
    with pytest.raises(TrustError, match="version repository"):
        device.repository().manifest(_wanted(fleet))


def test_metadata_past_its_expiry_by_trusted_time(fleet: SimulatedFleet, device: _Device) -> None:
    device.seconds += 2 * 86400
    with pytest.raises(ExpiredError, match="is the fleet manager's own clock right"):
        device.repository().manifest(_wanted(fleet))
    device.seconds = times.from_text("2026-11-01T00:00:00Z")
    device.repository().manifest(_wanted(fleet))


def test_a_cache_that_power_cut_short(fleet: SimulatedFleet, device: _Device) -> None:
    device.repository().manifest(_wanted(fleet))
    for path in device.folder.glob("*.json"):
        path.write_bytes(path.read_bytes()[:10])
    device.repository().manifest(_wanted(fleet))


def test_what_a_killed_process_left_half_written_is_removed_at_the_next_start(
    fleet: SimulatedFleet, device: _Device
) -> None:
    device.repository().manifest(_wanted(fleet))
    kept = {path.name for path in device.folder.iterdir()}
    with tempfile.NamedTemporaryFile(dir=device.folder, delete=False) as left:
        left.write(b"{")
    device.repository()
    assert {path.name for path in device.folder.iterdir()} == kept


def test_a_bearer_that_is_refused_says_nothing_about_the_metadata(fleet: SimulatedFleet, device: _Device) -> None:
    fleet._bearers.clear()
    with pytest.raises(UnreachableError, match="HTTP 401"):
        device.repository().manifest(_wanted(fleet))


def test_a_server_that_is_away(fleet: SimulatedFleet, device: _Device) -> None:
    fleet.http.stop()
    with pytest.raises(UnreachableError, match="cannot reach"):
        device.repository().documents()


def test_a_target_that_is_no_manifest(fleet: SimulatedFleet, device: _Device) -> None:
    manifest = fleet.manifests["tiny", "1.0.0"]
    broken = replace(manifest, version="4.0.0", format="9.0")
    fleet.tuf.publish(broken)
    with pytest.raises(BundleError, match="newer"):
        device.repository().manifest(replace(_wanted(fleet), version="4.0.0", digest=sha256(broken.encode())))


def test_it_needs_no_folder_for_temporary_files(
    device: _Device, fleet: SimulatedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr("tempfile._get_default_tempdir", none)
    monkeypatch.setattr("tempfile.tempdir", None)
    manifest, _ = device.repository().manifest(fleet.model("tiny", "1.0.0"))
    assert manifest.version == "1.0.0"


def test_more_bytes_than_the_metadata_says_are_not_taken(device: _Device, fleet: SimulatedFleet) -> None:
    path = f"{TUF_METADATA_PATH}timestamp.json"
    fleet.tuf.files[path] += b" " * 20_000_000
    with pytest.raises(TrustError, match="more than"):
        device.repository().manifest(fleet.model("tiny", "1.0.0"))
