"""A device that turns a model back and cannot load the old one at once gives it up for good reasons only.

Version 2 failed on its trial; loading version 1 then ends in some errors, one after another, before it works.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgemm.errors import (
    BundleError,
    DigestMismatchError,
    EngineError,
    EngineUnavailableError,
    EnvironmentFailure,
    NotFoundError,
    SelfTestError,
)
from edgemm.messages import ModelConfig, Probation
from edgemm_runtime.agent.update import steps
from edgemm_runtime.agent.update.machine import Step
from simulators.device_world import DeviceWorld, Versions

VERSIONS = Versions("1.0.0", "2.0.0")
QUICK = ModelConfig(probation=Probation(min_duration_s=1.0, selftest_interval_s=0.001))


def caused(err: Exception, *causes: Exception) -> Exception:
    """Return an error with the errors that it was made of."""
    for outer, inner in zip((err, *causes), causes, strict=False):
        outer.__cause__ = inner
    return err


def os_error(number: int) -> OSError:
    return OSError(number, "as the system says")


@dataclass(frozen=True)
class Story:
    """What loading version 1 ends in, and whether the device still has it then."""

    errors: list[Exception]
    kept: bool


STORIES = {
    "it loads at once": Story([], kept=True),
    "no memory once": Story([MemoryError()], kept=True),
    "the system has no memory twice": Story([os_error(errno.ENOMEM)] * 2, kept=True),
    "the engine fails three times": Story([EngineError("failed to allocate")] * 3, kept=True),
    "the environment fails": Story([EnvironmentFailure("cannot start a thread")], kept=True),
    "too many files are open while the manifest is read": Story(
        [caused(BundleError("manifest"), os_error(errno.EMFILE))], kept=True
    ),
    "the card reads a blob badly once": Story(
        [caused(BundleError("blob"), NotFoundError("no blob"), os_error(errno.EIO))], kept=True
    ),
    "no memory for good": Story([MemoryError()] * 9, kept=False),
    "the manifest is gone": Story([caused(BundleError("manifest"), os_error(errno.ENOENT))], kept=False),
    "a blob rotted": Story([DigestMismatchError("blob", expected="a" * 64, actual="b" * 64)], kept=False),
    "its engine is gone": Story([EngineUnavailableError("LiteRT is not installed")], kept=False),
    "its golden sample comes out wrong": Story([SelfTestError("golden sample 0")], kept=False),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DeviceWorld]:
    """A device that runs version 1 and on which version 2 will fail its trial."""
    world = _with_a_bad_update(tmp_path)
    yield world
    world.close()


def _with_a_bad_update(path: Path) -> DeviceWorld:
    world = DeviceWorld(path, VERSIONS)
    world.updater.recover()
    world.updater.tell(VERSIONS.wanted("1.0.0", config=QUICK))
    world.settle()
    world.host.wrong.add(VERSIONS.digest("2.0.0"))
    world.updater.tell(VERSIONS.wanted("2.0.0", config=QUICK))
    return world


@pytest.mark.parametrize("name", STORIES)
def test_story_of_a_roll_back(world: DeviceWorld, name: str) -> None:
    told = STORIES[name]
    world.host.failures[VERSIONS.digest("1.0.0")] = list(told.errors)
    world.settle()
    assert world.record.update is not None
    assert world.record.update.state == "rolled_back"
    assert world.serves() == ("1.0.0" if told.kept else None)
    assert ("active_lost" in world.told_states()) is not told.kept


@pytest.mark.parametrize("name", STORIES)
def test_story_of_a_start(tmp_path: Path, name: str) -> None:
    told, first = STORIES[name], _with_a_bad_update(tmp_path)
    first.settle()
    first.close()
    second = DeviceWorld(tmp_path, VERSIONS, boot=2)
    second.host.failures[VERSIONS.digest("1.0.0")] = list(told.errors)
    second.updater.recover()
    assert second.serves() == ("1.0.0" if told.kept else None)
    assert not second.host.expected, "what is lost is not waited for"
    second.close()


def test_what_is_turned_back_answers_nobody_while_the_old_one_is_loaded_again(world: DeviceWorld) -> None:
    digest, seen = VERSIONS.digest("1.0.0"), []

    class _Look(list[Exception]):
        def pop(self, index: int = -1) -> Exception:  # type: ignore[override]  # an index is an int here
            seen.append((world.serves(), "tiny" in world.host.expected))
            return super().pop(index)

    world.host.failures[digest] = _Look([MemoryError(), MemoryError()])
    world.settle()
    assert seen == [("2.0.0", False), (None, True)], "meanwhile its name is known, and not ready"
    assert world.serves() == "1.0.0"


def test_a_stop_ends_the_tries_and_the_next_start_goes_on(world: DeviceWorld) -> None:
    world.host.failures[VERSIONS.digest("1.0.0")] = [MemoryError()] * 3
    while world.record.update is None or world.record.update.state != "rolling_back":
        world.updater.work()
    interrupt = threading.Event()
    interrupt.set()
    with pytest.raises(steps.Interrupted):
        world.updater._steps.take(Step.ROLL_BACK, world.record, interrupt)
    assert world.record.update.state == "rolling_back"
    world.settle()
    assert world.serves() == "1.0.0"
