"""Bundles that are damaged or hostile: every command that opens one says so in one line and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulators.models import make_bundle
from tests.e2e.damaged import DAMAGES, flipped, good_bundle, truncated
from tests.e2e.fleets import Fleet
from tests.e2e.processes import Place, refuses, run_edgemm

pytestmark = [pytest.mark.core, pytest.mark.runtime, pytest.mark.slow]
Damage = Callable[[Path, Path], None]
WORDS = {"newer": ("2.0", "upgrade"), "empty": ("empty",)}


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.__name__)
def bad(request: pytest.FixtureRequest, place: Place) -> Path:
    """A bundle that must be refused."""
    path = place.folder / "bad.edgemm"
    request.param(path, good_bundle(place.folder))
    return path


def _left(place: Place) -> set[str]:
    return {str(p.relative_to(place.folder)) for p in place.folder.rglob("*") if p.is_file()}


def test_inspect_and_run_refuse_it(bad: Path, place: Place, request: pytest.FixtureRequest) -> None:
    before = _left(place)
    words = WORDS.get(request.node.callspec.id, ())
    refuses(run_edgemm("inspect", bad, at=place, timeout_s=60), 1, "bad.edgemm", *words)
    refuses(run_edgemm("run", bad, "--port", "0", at=place, timeout_s=60), 1, "bad.edgemm", *words)
    assert _left(place) == before
    assert not (place.folder.parent / "outside").exists()


COMMANDS = {
    "inspect": ["--json"],
    "verify": ["--json"],
    "bench": ["--json"],
    "predict": ["[[1, 2, 3, 4]]"],
    "extract": ["--variant", "tflite:float32", "-o", "x.tflite"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", [truncated, flipped])
def test_every_command_refuses_a_damaged_bundle(place: Place, command: str, damage: Damage) -> None:
    bad = place.folder / "bad.edgemm"
    damage(bad, good_bundle(place.folder))
    before = _left(place)
    refuses(run_edgemm(command, bad, *COMMANDS[command], at=place, timeout_s=60), 1, "bad.edgemm")
    assert _left(place) == before


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet to publish to."""
    with Fleet(tmp_path_factory.mktemp("shop")) as fleet:
        yield fleet.up()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_publish_refuses_it(shop: Fleet, damage: Damage, tmp_path: Path) -> None:
    path = tmp_path / "bad.edgemm"
    damage(path, good_bundle(tmp_path))
    refuses(shop.run("publish", path), 1, "bad.edgemm")
    assert shop.json("models") == []


def test_a_published_version_cannot_become_another_one(fleet: Fleet) -> None:
    fleet.publish("1.0.0", seed=1)
    fleet.publish("1.0.0", seed=1)
    other = fleet.place.folder / "other.edgemm"
    make_bundle(other, version="1.0.0", seed=2)
    refuses(fleet.run("publish", other), 1, "tiny 1.0.0")
    assert len(fleet.api("/models/tiny/versions")["items"]) == 1
