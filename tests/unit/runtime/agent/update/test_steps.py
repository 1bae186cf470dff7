"""One step at a time, over a device without network or engines."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgemm.bundle import open_bundle
from edgemm.errors import (
    BundleError,
    DigestMismatchError,
    EdgemmError,
    EnvironmentFailure,
    ExpiredError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    ReplayError,
    TrustError,
    UnreachableError,
    WithdrawnError,
)
from edgemm.messages import DesiredModel, ModelConfig, Probation
from edgemm_runtime.agent.update.steps import Patience, diagnose
from edgemm_runtime.engines import choice
from simulators.device_world import DeviceWorld, Versions
from tests.golden.unknown import path_of
from tests.golden.vector import FOLDER

VERSIONS = Versions("1.0.0", "2.0.0")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeviceWorld]:
    """A device that runs version 1."""
    world = DeviceWorld(tmp_path, VERSIONS)
    world.updater.recover()
    _reach(world, VERSIONS.wanted("1.0.0", config=_quick()))
    yield world
    world.close()


def _quick(**rules: object) -> ModelConfig:
    given: dict[str, Any] = {"min_duration_s": 1.0, "selftest_interval_s": 0.001}
    return ModelConfig(probation=Probation(**given | rules))


def _reach(world: DeviceWorld, wanted: DesiredModel) -> tuple[str, str | None]:
    world.updater.tell(wanted)
    world.settle()
    assert world.record.update is not None
    return world.record.update.state.value, world.record.update.reason


def test_no_space_names_what_is_needed_and_what_is_there(world: DeviceWorld) -> None:
    world.disk_bytes = 100
    assert _reach(world, VERSIONS.wanted("2.0.0")) == ("rejected", "no_space")
    assert world.record.update is not None
    assert "needs 1,160 bytes of disk, 100 are free" in (world.record.update.detail or "")
    assert world.serves() == "1.0.0"


def test_what_the_spool_may_still_take_is_not_for_a_download(world: DeviceWorld) -> None:
    world.disk_bytes, world.spool_growth_bytes = 5_000_100, 5_000_000
    assert _reach(world, VERSIONS.wanted("2.0.0")) == ("rejected", "no_space")
    assert world.record.update is not None
    assert world.record.update.detail == (
        "tflite:float32 needs 1,160 bytes of disk, 100 are free"
        " (of 5,000,100 free bytes 0 are kept for the device's state and 5,000,000 for its spool)"
    )
    world.spool_growth_bytes = 4_000_000
    assert _reach(world, VERSIONS.wanted("2.0.0", attempt=2, config=_quick())) == ("committed", None)


@pytest.mark.parametrize("steps_before", [0, 1], ids=["before the manifest came", "after it"])
def test_what_nobody_needs_makes_room(world: DeviceWorld, monkeypatch: pytest.MonkeyPatch, steps_before: int) -> None:
    steps = world.updater._steps

    def prune() -> int:
        world.disk_bytes = 10_000_000
        return 5000

    monkeypatch.setattr(steps, "_tools", replace(steps._tools, prune=prune))
    world.updater.tell(VERSIONS.wanted("2.0.0", config=_quick()))
    for _ in range(steps_before):
        world.updater.work()
    world.disk_bytes = 100
    world.settle()
    assert world.record.update is not None
    assert world.record.update.state.value == "committed", world.record.update
    assert world.serves() == "2.0.0"


def test_a_disk_that_filled_up_after_the_manifest_came(world: DeviceWorld) -> None:
    world.updater.tell(VERSIONS.wanted("2.0.0"))
    world.updater.work()
    world.disk_bytes = 100
    world.settle()
    assert world.record.update is not None
    assert (world.record.update.state.value, world.record.update.reason) == ("rejected", "no_space")
    assert world.record.update.detail == "1,160 bytes are needed, 100 are free: remove something"


def test_a_variant_that_the_bundle_lacks(world: DeviceWorld) -> None:
    assert _reach(world, VERSIONS.wanted("2.0.0", variants=("tflite:int4",))) == ("rejected", "no_engine")


def test_an_engine_that_is_not_here(tmp_path: Path) -> None:
    world = DeviceWorld(tmp_path, Versions("1.0.0"))
    world.engines.clear()
    assert _reach(world, world.versions.wanted("1.0.0")) == ("rejected", "no_engine")
    assert world.record.update is not None
    assert "pip install 'edgemm[runtime]'" in (world.record.update.detail or "")
    world.close()


@pytest.mark.parametrize(
    ("name", "ends", "says"),
    [
        ("engine", ("committed", None), ""),
        ("precision", ("committed", None), ""),
        ("dtype", ("committed", None), ""),
        ("layout", ("committed", None), ""),
        ("only-engines", ("rejected", "no_engine"), "acme-npu:int8 is for engine 'acme-npu'"),
        ("signature", ("rejected", "no_engine"), "tensor 'x': dtype posit16"),
    ],
)
def test_a_bundle_of_a_later_version(tmp_path: Path, name: str, ends: tuple[str, str | None], says: str) -> None:
    versions = Versions()
    with open_bundle(path_of(name)) as bundle:
        versions.manifests["1.0.0"] = bundle.manifest
        versions.blobs |= {digest: bundle.read(digest) for digest in bundle.manifest.blobs}
    world = DeviceWorld(tmp_path, versions)
    assert _reach(world, versions.wanted("1.0.0", config=_quick())) == ends
    assert world.record.update is not None
    assert says in (world.record.update.detail or "")
    assert world.serves() == ("1.0.0" if ends[0] == "committed" else None)
    world.close()


def test_a_runtime_that_is_too_old_refuses_a_bundle_of_strings_and_serves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = Versions("1.0.0")
    with open_bundle(FOLDER / "bundle" / "visits-1.0.0.edgemm") as bundle:
        newer = msgspec.structs.replace(bundle.manifest, name="tiny", version="2.0.0")
        versions.manifests["2.0.0"] = newer
        versions.blobs |= {digest: bundle.read(digest) for digest in newer.blobs}
    world = DeviceWorld(tmp_path, versions)
    assert _reach(world, versions.wanted("1.0.0", config=_quick())) == ("committed", None)
    monkeypatch.setattr(choice, "__version__", "0.2.0")
    assert _reach(world, versions.wanted("2.0.0", config=_quick())) == ("rejected", "no_engine")
    assert world.record.update is not None
    assert "minimum runtime 0.3.0 is newer than 0.2.0" in (world.record.update.detail or "")
    assert world.serves() == "1.0.0"
    world.close()


def test_a_self_test_that_does_not_end(world: DeviceWorld) -> None:
    world.selftest_timeouts.add("2.0.0")
    assert _reach(world, VERSIONS.wanted("2.0.0")) == ("failed", "selftest_timeout")
    assert world.serves() == "1.0.0"


def test_a_self_test_that_fails(world: DeviceWorld) -> None:
    world.selftest_failures.add("2.0.0")
    assert _reach(world, VERSIONS.wanted("2.0.0")) == ("failed", "selftest_failed")
    assert world.serves() == "1.0.0"


def test_a_model_that_cannot_be_loaded_in_this_process(world: DeviceWorld) -> None:
    world.host.broken.add(VERSIONS.digest("2.0.0"))
    assert _reach(world, VERSIONS.wanted("2.0.0")) == ("rolled_back", "load_failed")
    assert world.serves() == "1.0.0"


def test_a_golden_sample_that_comes_out_wrong_on_probation(world: DeviceWorld) -> None:
    world.host.wrong.add(VERSIONS.digest("2.0.0"))
    assert _reach(world, VERSIONS.wanted("2.0.0", config=_quick())) == ("rolled_back", "selftest_failed")
    assert world.serves() == "1.0.0"


def test_errors_on_probation(world: DeviceWorld) -> None:
    digest = VERSIONS.digest("2.0.0")
    world.updater.tell(VERSIONS.wanted("2.0.0", config=_quick(min_duration_s=1e6, min_requests=10)))
    watching = threading.Thread(target=world.settle)
    watching.start()
    requests = 0
    while watching.is_alive():
        requests += 10
        world.host.figures[digest] = (requests, requests // 10)
        watching.join(0.01)
    assert world.record.update is not None
    assert (world.record.update.reason, world.serves()) == ("errors", "1.0.0")


@pytest.mark.parametrize(("before", "ended"), [((100, 0), ("rolled_back", "errors")), ((50, 50), ("committed", None))])
def test_sizes_that_the_version_before_computed_are_held_against_a_new_one(
    world: DeviceWorld, before: tuple[int, int], ended: tuple[str, str | None]
) -> None:
    """Half of the clients' requests are of a size that version 2 refuses."""
    world.host.sizes[VERSIONS.digest("1.0.0")] = before
    world.updater.tell(VERSIONS.wanted("2.0.0", config=_quick(min_duration_s=5.0, min_requests=1)))
    while world.serves() != "2.0.0":
        assert world.updater.work()
    world.host.on_check = lambda: world.host.sizes.update({VERSIONS.digest("2.0.0"): (50, 50)})
    world.settle()
    assert world.record.update is not None
    assert (world.record.update.state.value, world.record.update.reason) == ended


def test_what_is_no_longer_needed_is_removed_after_a_commit(world: DeviceWorld, tmp_path: Path) -> None:
    _reach(world, VERSIONS.wanted("2.0.0", config=_quick()))
    assert {path.stem for path in tmp_path.glob("manifests/*")} == {VERSIONS.digest(v) for v in ("1.0.0", "2.0.0")}
    world.updater.tell(None)
    world.settle()
    assert not [*tmp_path.glob("manifests/*"), *tmp_path.glob("blobs/*"), *tmp_path.glob("partial/*")]


def _fails(error: Callable[[], Exception], times: int, then: Callable[[DesiredModel], object]) -> Callable[..., object]:
    left = [times]

    def manifest(wanted: DesiredModel) -> object:
        if left[0] > 0:
            left[0] -= 1
            raise error()
        return then(wanted)

    return manifest


@pytest.mark.parametrize(
    ("error", "times", "ended"),
    [
        (UnreachableError, 50, ("committed", None)),
        (ExpiredError, 50, ("committed", None)),
        (TrustError, 2, ("committed", None)),
        (TrustError, 3, ("rejected", "untrusted")),
        (BundleError, 3, ("failed", "damaged")),
        (ReplayError, 1, ("rejected", "below_minimum_version")),
        (UnreachableError, 10**6, ("failed", "unreachable")),
        (ExpiredError, 10**6, ("rejected", "expired")),
    ],
)
def test_how_often_a_failure_is_tried_again(
    world: DeviceWorld,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    times: int,
    ended: tuple[str, str | None],
) -> None:
    monkeypatch.setattr(VERSIONS, "manifest", _fails(lambda: error("as asked"), times, VERSIONS.manifest))
    world.tick_s = 600.0 if times > 100 else 0.5
    assert _reach(world, VERSIONS.wanted("2.0.0", config=_quick())) == ended


def test_a_version_that_is_withdrawn_while_it_downloads(world: DeviceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, manifest = threading.Event(), VERSIONS.manifest

    def withdrawn_later(wanted: DesiredModel) -> object:
        if fetched.is_set():
            raise WithdrawnError("tiny 2.0.0 was withdrawn")
        fetched.set()
        return manifest(wanted)

    monkeypatch.setattr(VERSIONS, "manifest", withdrawn_later)
    assert _reach(world, VERSIONS.wanted("2.0.0", config=_quick())) == ("rejected", "withdrawn")
    assert world.told_states()[-3:] == ["accepted", "downloading", "rejected"]
    assert world.serves() == "1.0.0"


def test_an_interrupt_ends_the_tries(world: DeviceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()

    def fail() -> Exception:
        called.set()
        return UnreachableError("no answer")

    monkeypatch.setattr(VERSIONS, "manifest", _fails(fail, 10**9, VERSIONS.manifest))
    world.updater.tell(VERSIONS.wanted("2.0.0"))
    working = threading.Thread(target=world.settle)
    working.start()
    assert called.wait(60)
    world.updater.tell(VERSIONS.wanted("1.0.0"))
    working.join(60)
    assert not working.is_alive()
    assert world.told_states()[-3:] == ["accepted", "canceled", "committed"]
    assert world.serves() == "1.0.0"


def _full_disk() -> EnvironmentFailure:
    err = EnvironmentFailure("cannot write")
    err.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return err


@pytest.mark.parametrize(
    ("error", "reason", "patience"),
    [
        (UnreachableError("x"), "unreachable", Patience.LONG),
        (PermissionDeniedError("x"), "unreachable", Patience.LONG),
        (NotFoundError("x"), "unreachable", Patience.LITTLE),
        (ExpiredError("x"), "expired", Patience.LONG),
        (ReplayError("x"), "below_minimum_version", Patience.NONE),
        (WithdrawnError("x"), "withdrawn", Patience.NONE),
        (TrustError("x"), "untrusted", Patience.LITTLE),
        (DigestMismatchError("x", expected="a", actual="b"), "damaged", Patience.LITTLE),
        (InputError("x"), "no_engine", Patience.NONE),
        (_full_disk(), "no_space", Patience.NONE),
        (EnvironmentFailure("x"), "unreachable", Patience.LITTLE),
    ],
)
def test_diagnose(error: EdgemmError, reason: str, patience: Patience) -> None:
    assert diagnose(error) == (reason, patience)


@pytest.mark.parametrize("lost", ["blob", "manifest"])
def test_a_start_without_a_file_of_the_active_version_serves_the_one_before(tmp_path: Path, lost: str) -> None:
    first = DeviceWorld(tmp_path, VERSIONS)
    for version in ("1.0.0", "2.0.0"):
        _reach(first, VERSIONS.wanted(version, config=_quick()))
    blob = next(v.blob for v in VERSIONS.manifests["2.0.0"].variants)
    path = first.shelf.blobs.path(blob) if lost == "blob" else first.shelf.location(VERSIONS.digest("2.0.0")).manifest
    first.close()
    path.unlink()
    second = DeviceWorld(tmp_path, VERSIONS, boot=2)
    second.updater.recover()
    assert second.serves() == "1.0.0"
    assert _reach(second, VERSIONS.wanted("2.0.0", config=_quick())) == ("committed", None)
    assert second.serves() == "2.0.0"
    second.close()
