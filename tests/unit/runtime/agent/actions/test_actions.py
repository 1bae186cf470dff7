from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.errors import EnvironmentFailure, SelfTestError
from edgemm.messages import Action, ActionResult
from edgemm_runtime.agent.actions.actions import Actions, due, remembered
from edgemm_runtime.agent.state.documents import ActionsFile
from edgemm_runtime.agent.state.state_folder import StateFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    folder = StateFolder(tmp_path)
    yield folder
    folder.close()


class _Desk:
    """Runs actions and waits for their results."""

    def __init__(self, folder: StateFolder) -> None:
        self.done: list[str] = []
        self.restarts = 0
        self._changed = threading.Condition()
        self.actions = Actions(
            folder, {"prune": self._prune, "selftest": self._fail}, restart=self._restart, changed=self._notify
        )
        self.actions.start()

    def ask(self, *actions: Action, results: int) -> list[ActionResult]:
        self.actions.want(actions)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.actions.results) >= results, 60)
        return list(self.actions.results)

    def _prune(self, action: Action) -> str:
        self.done.append(action.id)
        return "7 bytes freed"

    def _fail(self, action: Action) -> str:
        raise SelfTestError("sample 3 is wrong")

    def _restart(self) -> None:
        self.restarts += 1

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def test_each_action_is_done_once_and_its_result_told(folder: StateFolder) -> None:
    desk = _Desk(folder)
    prune, selftest = Action(id="a", kind="prune"), Action(id="b", kind="selftest")
    desk.ask(prune, selftest, results=2)
    results = desk.ask(prune, selftest, Action(id="c", kind="dance"), results=3)
    assert desk.done == ["a"]
    assert [(r.id, r.ok, r.detail) for r in results] == [
        ("a", True, "7 bytes freed"),
        ("b", False, "sample 3 is wrong"),
        ("c", False, "unsupported: 'dance'"),
    ]
    desk.actions.stop()


def test_the_result_of_any_kind_can_be_kept_and_told(folder: StateFolder) -> None:
    desk = _Desk(folder)
    (result,) = desk.ask(Action(id="\U0010ffff" * 128, kind="\U0010ffff" * 128), results=1)
    assert result.detail.startswith("unsupported: ")
    kept = folder.read("actions.json", ActionsFile)
    assert kept is not None
    assert kept.results == (result,)
    desk.actions.stop()


def test_what_was_done_before_a_start_is_not_done_again(folder: StateFolder) -> None:
    first = _Desk(folder)
    first.ask(Action(id="r", kind="restart"), results=1)
    first.actions.stop()
    second = _Desk(folder)
    second.ask(Action(id="r", kind="restart"), Action(id="p", kind="prune"), results=2)
    assert (first.restarts, second.restarts) == (1, 0)
    second.actions.stop()


def test_an_id_that_is_given_twice_is_one_action() -> None:
    twice = [Action(id="a", kind="prune"), Action(id="a", kind="restart")]
    assert due(twice, []) == twice[:1]
    assert due(twice, [ActionResult(id="a", ok=True)]) == []


def test_results_that_are_still_asked_for_are_kept_longest() -> None:
    done = tuple(ActionResult(id=str(n), ok=True) for n in range(64))
    kept = remembered(done, ActionResult(id="new", ok=True), wanted={"0", "new"})
    assert len(kept) == 64
    assert [kept[0].id, kept[1].id, kept[-1].id] == ["0", "2", "new"]


def test_a_restart_that_cannot_be_noted_is_not_made(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise EnvironmentFailure("cannot write actions.json: No space left on device; nothing was changed")

    monkeypatch.setattr(folder, "write", full)
    desk = _Desk(folder)
    (result,) = desk.ask(Action(id="r", kind="restart"), results=1)
    desk.ask(Action(id="p", kind="prune"), results=2)
    desk.actions.stop()
    assert desk.restarts == 0, "the next start would find it undone, and restart again, for ever"
    assert (result.ok, "No space left" in result.detail) == (False, True)
