"""A device that is updated from version 1 to 2 and loses its power at any point of that, as often as one likes.

    with UpdateStory(folder, COMMITTED, workers=2) as story:
        ended = cut_all(story, story.points())
        assert set(ended.values()) == {GOOD}

Each cut is two real processes over one state folder: one that ends by SIGKILL at the point, and one that must serve a
good model, end the update, and have told the fleet what happened, each transition once and in order.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from edgemm.messages import Event
from simulators.fleet import SimulatedFleet
from simulators.forked_agents import AgentServer, ForkedAgent, Life, SelfTest
from simulators.models import Dense, make_bundle
from simulators.ports import free_port
from simulators.waiting import eventually

OLD, NEW = "1.0.0", "2.0.0"
GOOD, NOT_REACHED = "good", "not reached"
X = [0.1, -0.2, 0.3, -0.4]
_ON_TRIAL = {"activating", "probation"}
_BELOW = re.compile(r"(/?\w+)/\S*")
_VARIANTS = ("tflite:float32",)
_TO_ACTIVATING = ("accepted", "downloading", "verified", "staged", "activating")
_TRIES = 4
_UNSURE = re.compile(r"telemetry ([2-9]|\d{2,})\b| feedback\b")
_RUNS = 3


@dataclass(frozen=True)
class Story:
    """How an update goes: through `path`, to `serves`; `scramble`: version 2 answers its golden samples wrongly."""

    path: tuple[str, ...]
    serves: str
    scramble: bool = False


COMMITTED = Story((*_TO_ACTIVATING, "probation", "committed"), serves=NEW)
TURNED_BACK = Story((*_TO_ACTIVATING, "rolling_back", "rolled_back"), serves=OLD, scramble=True)
"""Its self-test in the child is left out, or the update would never come as far as to be turned back."""


class NotReachedError(AssertionError):
    """The update ended before the point came: it is one that not every run has."""


@dataclass
class _Device:
    """One device's template: its state folder with version 1 committed, and where it listens."""

    id: str
    folder: Path
    port: int


def kind(point: str) -> str:
    """Return what sort of point it is: the same call on the same sort of file or message, before or after it."""
    when, call = point.split(" ", 1)
    what = _BELOW.sub(r"\1/…", call.rsplit(" ", 1)[0])
    return f"{when} {what}"


class UpdateStory:
    """One fleet, and devices of it on which the same update is made over and over; `workers` may be cut at once."""

    def __init__(self, folder: Path, story: Story = COMMITTED, *, workers: int = 1) -> None:
        self._folder, self._story, self.workers = folder, story, workers
        self.fleet = SimulatedFleet()
        self._server = AgentServer()
        self._scores = {OLD: _scores(0)} if story.scramble else {OLD: _scores(0), NEW: _scores(1)}
        self._publish(OLD, seed=0)
        self._devices = [self._enrol(number) for number in range(workers)]
        self._publish(NEW, seed=1)
        self._cuts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.__exit__(*exc)
        self.fleet.__exit__(*exc)

    def points(self) -> list[str]:
        """Make the update a few times, undisturbed; return the points that every one of them had, in order.

        What is sent again, and how many windows of telemetry there are, hangs on how long a run takes: of windows only
        the first is sure to come. What awaits a label is written once a minute, and when the device stops.
        """
        runs = [self._points_of_a_run() for _ in range(_RUNS)]
        return [p for p in runs[0] if all(p in run for run in runs) and not _UNSURE.search(p)]

    def _points_of_a_run(self) -> list[str]:
        folder, record = self._fresh(0), self._folder / "points"
        record.unlink(missing_ok=True)
        agent = self._live(0, folder, record=record)
        self._await_end(0, agent)
        assert agent.stop() == 0
        self._check_told(0, lost=False)
        self._check_left(folder)
        return record.read_text().splitlines()

    def cut(self, point: str, *, worker: int = 0) -> None:
        """Lose power at a point and come back.

        Raises:
            AssertionError: the device did not come back well; `NotReachedError`: the point never came.
        """
        folder = self._fresh(worker)
        victim = self._live(worker, folder, kill=point)
        self._await_kill(worker, victim, point)
        before = json.loads((folder / "models" / "tiny.json").read_bytes())
        again = self._live(worker, folder)
        state, active = before["update"]["state"], before["active"]["version"]
        first, possible = self._first_answer(again), {NEW} if active == NEW else set(self._scores)
        _expect(first in possible, f"it serves one of {possible} first, found {first}")
        self._await_end(worker, again)
        _expect((status := again.stop()) == 0, f"it stops with 0, found {status}")
        wanted = before["update"]["target"]["version"] == NEW
        self._check_told(worker, lost=wanted and state in _ON_TRIAL)
        self._check_left(folder)
        shutil.rmtree(folder)

    def _publish(self, version: str, *, seed: int) -> None:
        path = self._folder / f"{version}.edgemm"
        scramble = self._story.scramble and version == NEW
        make_bundle(path, version=version, seed=seed, variants=_VARIANTS, scramble=scramble)
        self.fleet.publish(path)

    def _enrol(self, number: int) -> _Device:
        folder, port = self._folder / f"device-{number}", free_port()
        known = set(self.fleet.devices)
        agent = self._server.start(
            Life(
                url=self.fleet.url, state_dir=str(folder), port=port, ports=self.fleet.ports,
                token=self.fleet.token(), name=f"pi-{number}",
            )
        )  # fmt: skip
        eventually(lambda: set(self.fleet.devices) - known, "it is enrolled")
        (device,) = set(self.fleet.devices) - known
        self.fleet.desire(device, self.fleet.model("tiny", OLD))
        self.fleet.wait_for(lambda: self.fleet.state(device, "tiny", OLD) == "committed")
        assert agent.stop() == 0
        return _Device(device, folder, port)

    def _fresh(self, worker: int) -> Path:
        """Return a copy of a device's folder, with a fleet that now wants version 2 of it and has heard nothing yet."""
        device = self._devices[worker]
        self._cuts += 1
        folder = self._folder / f"cut-{worker}-{self._cuts}"
        shutil.copytree(device.folder, folder, symlinks=True)
        self.fleet.forget(device.id)
        self.fleet.desire(device.id, self.fleet.model("tiny", NEW))
        return folder

    def _live(self, worker: int, folder: Path, *, record: Path | None = None, kill: str = "") -> ForkedAgent:
        return self._server.start(
            Life(
                url=self.fleet.url, state_dir=str(folder), port=self._devices[worker].port, ports=self.fleet.ports,
                record=None if record is None else str(record), kill=kill,
                selftest=self._selftest(record is not None or "child" in kill),
            )
        )  # fmt: skip

    def _selftest(self, watched: bool) -> SelfTest:  # noqa: FBT001 - what is watched is a point of the child
        """Starting Python is most of what a self-test costs here: a child only where that is what is watched."""
        if self._story.scramble:
            return SelfTest.NONE
        return SelfTest.CHILD if watched else SelfTest.HERE

    def _await_kill(self, worker: int, victim: ForkedAgent, point: str) -> None:
        """Wait for the end; a victim whose update ended is stopped, for some points come then."""
        device = self._devices[worker].id
        stopped = False

        def over() -> bool:
            nonlocal stopped
            if victim.over:
                return True
            if not stopped and self._is_settled(device):
                stopped = True
                victim.send(signal.SIGTERM)
            return False

        eventually(over, f"it is killed {point}")
        if (status := victim.wait()) != -signal.SIGKILL:
            assert status == 0, status
            raise NotReachedError(point)

    def _await_end(self, worker: int, agent: ForkedAgent) -> None:
        device = self._devices[worker].id
        self.fleet.wait_for(lambda: self._is_settled(device))
        found = self._first_answer(agent)
        _expect(found == self._story.serves, f"{self._story.serves} serves in the end, found {found}")

    def _is_settled(self, device: str) -> bool:
        """Tell whether the fleet heard the whole story: a report, its events and telemetry after that."""
        end = self._story.path[-1]
        ended = self.fleet.state(device, "tiny", NEW) == end
        return ended and self._told(device)[-1:] == [end] and self.fleet.windows(device) > 0

    def _first_answer(self, agent: ForkedAgent) -> str:
        """Return the version that answers first, having compared its answer with what that version computes."""
        found: tuple[int, str, list[float]] = (0, "", [])

        def answered() -> bool:
            nonlocal found
            found = agent.answer(X)
            _expect(found[0] in {0, 200, 404, 503}, f"it is not ready yet, or answers; found {found}")
            return found[0] == 200

        eventually(answered, "it answers")
        _expect(found[1] in self._scores, f"a good model answers, found version {found[1]}")
        np.testing.assert_allclose(found[2], self._scores[found[1]], atol=1e-4)
        return found[1]

    def _told(self, device: str) -> list[str]:
        told = sorted(self._events(device), key=lambda e: (e.boot_count, e.sequence))
        return [e.to_state.value if e.to_state else e.cause for e in told if e.version == NEW]

    def _events(self, device: str) -> Sequence[Event]:
        return [event for event in list(self.fleet.events.values()) if event.device == device]

    def _check_told(self, worker: int, *, lost: bool) -> None:
        told = self._told(self._devices[worker].id)
        _expect(tuple(t for t in told if t != "power_lost") == self._story.path, f"each once, in order; found {told}")
        _expect(told.count("power_lost") == lost, f"power_lost {int(lost)} times; found {told}")
        _expect(not self.fleet.problems, str(self.fleet.problems))

    def _check_left(self, folder: Path) -> None:
        """Look at what is on disk: the record, what it needs, and no file that nobody will ever remove."""
        record = json.loads((folder / "models" / "tiny.json").read_bytes())
        found = (record["update"]["state"], record["active"]["version"])
        _expect(found == (self._story.path[-1], self._story.serves), f"the record is of the end, found {found}")
        kept = {record[one]["digest"] for one in ("active", "previous") if record[one]}
        found_manifests = {path.stem for path in folder.glob("manifests/*")}
        _expect(found_manifests == kept, f"manifests of {kept}, found {found_manifests}")
        left = [*folder.glob("partial/*"), *(path for path in folder.rglob("*") if "tmp" in path.name)]
        _expect(not left, f"nothing half done is left, found {left}")


def cut_all(story: UpdateStory, points: Sequence[str]) -> dict[str, str]:
    """Cut at all points, several devices at a time; return what each ended in: `GOOD`, `NOT_REACHED`, or why not."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for point in points:
        waiting.put(point)
    ended: dict[str, str] = {}

    def work(worker: int) -> None:
        while not waiting.empty():
            try:
                point = waiting.get_nowait()
            except queue.Empty:
                return
            ended[point] = _cut(story, point, worker=worker)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(story.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def _cut(story: UpdateStory, point: str, *, worker: int) -> str:
    for _ in range(_TRIES):
        try:
            story.cut(point, worker=worker)
        except NotReachedError:
            continue
        except AssertionError as err:
            return f"BAD: {' '.join(str(err).split())[:400]}"
        return GOOD
    return NOT_REACHED


def _expect(holds: bool, what: str) -> None:  # noqa: FBT001 - an assertion that says what it is about, outside pytest
    if not holds:
        raise AssertionError(f"expected that {what}")


def _scores(seed: int) -> list[float]:
    found: list[float] = Dense.random(seed).predict(np.array([X], np.float32))[0].tolist()
    return found
