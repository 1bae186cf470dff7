"""What a device does with one model, told as stories: a device with this behind it, these events, this path."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgemm.reasons import Reason
from edgemm.states import UpdateState, may_follow
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import (
    Activated,
    Event,
    Fetched,
    Lost,
    Passed,
    Prepared,
    Proceed,
    Restarted,
    RolledBack,
    SelfTested,
    Stopping,
    Trouble,
    Unwanted,
    Wanted,
)
from simulators.device_records import VARIANT, fresh, run, told, wanted, way_to_commit, with_committed

_TO_STAGED: list[Event] = [Prepared(VARIANT), Fetched(), SelfTested()]
_TO_ACTIVATING: list[Event] = [*_TO_STAGED, Proceed()]
_TO_PROBATION: list[Event] = [*_TO_ACTIVATING, Activated()]
_FIVE_STOPS: list[Event] = [Stopping(), Restarted()] * 5


@dataclass(frozen=True)
class Story:
    """`path` are the states entered after `given`; `active` and `previous` the versions at the end."""

    given: ModelFile
    events: list[Event]
    path: str
    active: str | None
    previous: str | None = None
    reason: str | None = None


def story(
    given: ModelFile,
    *events: Event,
    path: str,
    active: str | None,
    previous: str | None = None,
    reason: str | None = None,
) -> Story:
    return Story(given, list(events), path, active, previous, reason)


V1 = with_committed("1.0.0")
WANT_1, WANT_2, WANT_3 = (Wanted(wanted(v)) for v in ("1.0.0", "2.0.0", "3.0.0"))
FULL = "accepted downloading verified staged activating probation committed"
FAILED_SELFTEST = told(run(V1, WANT_2, Prepared(VARIANT), Fetched(), Trouble(Reason.SELFTEST_FAILED, "sample 3")))

STORIES = {
    "the first install goes all the way": story(fresh(), WANT_1, *way_to_commit(), path=FULL, active="1.0.0"),
    "an update keeps the old version to return to": story(
        V1, WANT_2, *way_to_commit(), path=FULL, active="2.0.0", previous="1.0.0"
    ),
    "the version that runs already is wanted again": story(V1, WANT_1, path="", active="1.0.0"),
    "a higher attempt of what runs already needs no step": story(
        V1, Wanted(wanted("1.0.0", 2)), path="committed", active="1.0.0"
    ),
    "the fleet rolls back to the previous version": story(
        run(V1, WANT_2, *way_to_commit()), WANT_1, *way_to_commit(), path=FULL, active="1.0.0", previous="2.0.0"
    ),
    "no space": story(
        V1, WANT_2, Trouble(Reason.NO_SPACE), path="accepted rejected", active="1.0.0", reason="no_space"
    ),
    "no engine": story(
        V1, WANT_2, Trouble(Reason.NO_ENGINE), path="accepted rejected", active="1.0.0", reason="no_engine"
    ),
    "a version below the signed minimum": story(
        V1, WANT_2, Trouble(Reason.BELOW_MINIMUM_VERSION), path="accepted rejected", active="1.0.0",
        reason="below_minimum_version",
    ),
    "not what the publisher signed": story(
        V1, WANT_2, Trouble(Reason.UNTRUSTED), path="accepted rejected", active="1.0.0", reason="untrusted"
    ),
    "the server is gone for too long": story(
        V1, WANT_2, Prepared(VARIANT), Trouble(Reason.UNREACHABLE), path="accepted downloading failed", active="1.0.0",
        reason="unreachable",
    ),
    "the self-test fails": story(
        V1, WANT_2, Prepared(VARIANT), Fetched(), Trouble(Reason.SELFTEST_FAILED),
        path="accepted downloading verified failed", active="1.0.0", reason="selftest_failed",
    ),
    "a failure is remembered": story(FAILED_SELFTEST, WANT_2, path="", active="1.0.0", reason="selftest_failed"),
    "a failure is told again after another wish": story(
        FAILED_SELFTEST, WANT_1, WANT_2, path="committed failed", active="1.0.0", reason="selftest_failed"
    ),
    "a higher attempt tries again": story(
        FAILED_SELFTEST, Wanted(wanted("2.0.0", 2)), *way_to_commit(), path=FULL, active="2.0.0", previous="1.0.0"
    ),
    "the new model cannot be loaded": story(
        V1, WANT_2, *_TO_ACTIVATING, Trouble(Reason.LOAD_FAILED), RolledBack(),
        path="accepted downloading verified staged activating rolling_back rolled_back", active="1.0.0",
        reason="load_failed",
    ),
    "errors on probation": story(
        V1, WANT_2, *_TO_PROBATION, Trouble(Reason.ERRORS, "3 of 10"), RolledBack(),
        path="accepted downloading verified staged activating probation rolling_back rolled_back", active="1.0.0",
        reason="errors",
    ),
    "a first install that fails on probation leaves nothing active": story(
        fresh(), WANT_1, *_TO_PROBATION, Trouble(Reason.ERRORS),
        path="accepted downloading verified staged activating probation failed", active=None, reason="errors",
    ),
    "superseded while downloading": story(
        V1, WANT_2, Prepared(VARIANT), WANT_3, path="accepted downloading canceled accepted", active="1.0.0"
    ),
    "halted while staged": story(
        V1, WANT_2, *_TO_STAGED, WANT_1, path="accepted downloading verified staged canceled committed", active="1.0.0"
    ),
    "superseded while activating finishes first": story(
        V1, WANT_2, *_TO_ACTIVATING, WANT_3, Activated(),
        path="accepted downloading verified staged activating probation", active="1.0.0",
    ),
    "superseded on probation turns back first": story(
        V1, WANT_2, *_TO_PROBATION, WANT_1, RolledBack(), WANT_1,
        path="accepted downloading verified staged activating probation rolling_back rolled_back committed",
        active="1.0.0",
    ),
    "what was superseded may be tried again at the same attempt": story(
        V1, WANT_2, WANT_3, WANT_2, *way_to_commit(),
        path="accepted canceled accepted canceled " + FULL, active="2.0.0", previous="1.0.0",
    ),
    "stopped": story(V1, Unwanted(), path="", active=None, reason="stopped"),
    "stopped while downloading": story(
        V1, WANT_2, Unwanted(), path="accepted canceled", active=None, reason="stopped"
    ),
    "stopped and wanted again is installed again": story(
        V1, Unwanted(), WANT_1, *way_to_commit(), path=FULL, active="1.0.0"
    ),
    "power is lost before activation": story(
        V1, WANT_2, Prepared(VARIANT), Restarted(), Fetched(), Restarted(), SelfTested(), Restarted(),
        path="accepted downloading verified staged", active="1.0.0",
    ),
    "power is lost once on probation": story(
        V1, WANT_2, *_TO_PROBATION, Restarted(), Passed(),
        path="accepted downloading verified staged activating probation committed", active="2.0.0", previous="1.0.0",
    ),
    "power is lost three times": story(
        V1, WANT_2, *_TO_ACTIVATING, Restarted(), Activated(), Restarted(), Restarted(), RolledBack(),
        path="accepted downloading verified staged activating probation rolling_back rolled_back", active="1.0.0",
        reason="power_loss",
    ),
    "power is lost three times in a first install": story(
        fresh(), WANT_1, *_TO_ACTIVATING, Restarted(), Restarted(), Restarted(),
        path="accepted downloading verified staged activating failed", active=None, reason="power_loss",
    ),
    "stopping on purpose spends no attempt": story(
        V1, WANT_2, *_TO_PROBATION, *_FIVE_STOPS, Passed(),
        path="accepted downloading verified staged activating probation committed", active="2.0.0", previous="1.0.0",
    ),
    "power is lost while rolling back": story(
        V1, WANT_2, *_TO_PROBATION, Trouble(Reason.HANG), Restarted(), RolledBack(),
        path="accepted downloading verified staged activating probation rolling_back rolled_back", active="1.0.0",
        reason="hang",
    ),
    "what was active rotted": story(
        run(V1, WANT_2, *way_to_commit()), Lost("flipped"), path="", active="1.0.0"
    ),
    "what rotted is installed again": story(
        run(V1, WANT_2, *way_to_commit()), Lost("flipped"), WANT_2, *way_to_commit(), path=FULL, active="2.0.0",
        previous="1.0.0",
    ),
    "another variant of the same version is wanted": story(
        V1, Wanted(wanted("1.0.0", variants=("onnx:float32",))), path="accepted", active="1.0.0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    told_story = STORIES[name]
    before = told_story.given
    after = run(before, *told_story.events)
    news = [t for t in after.pending if t.serial > before.serial]
    assert " ".join(t.to_state for t in news if t.to_state) == told_story.path
    assert (after.active.version if after.active else None) == told_story.active
    if told_story.previous is not None:
        assert after.previous is not None
        assert after.previous.version == told_story.previous
    if told_story.reason is not None:
        assert after.update is not None
        assert after.update.reason == told_story.reason
    for transition in news:
        if transition.from_state and transition.to_state:
            assert may_follow(transition.from_state, transition.to_state)


@pytest.mark.parametrize("name", STORIES)
def test_every_event_twice_changes_nothing_more(name: str) -> None:
    told_story = STORIES[name]
    doubled = [event for event in told_story.events if not isinstance(event, Restarted | Lost) for _ in (1, 2)]
    once = [event for event in told_story.events if not isinstance(event, Restarted | Lost)]
    assert run(told_story.given, *doubled) == run(told_story.given, *once)


def test_every_loss_of_power_on_trial_is_told_and_the_last_one_turns_the_model_back() -> None:
    record = told(run(V1, WANT_2, *_TO_PROBATION))
    causes = []
    for _ in range(3):
        record = run(record, Restarted())
        causes += [(t.cause, t.version, t.from_state, t.to_state, t.detail) for t in record.pending]
        record = told(record)
    probation, rolling_back = UpdateState.PROBATION, UpdateState.ROLLING_BACK
    assert causes == [
        ("power_lost", "2.0.0", None, None, "1 of 3 between activation and commit"),
        ("power_lost", "2.0.0", None, None, "2 of 3 between activation and commit"),
        ("power_loss", "2.0.0", probation, rolling_back, "power was lost 3 times between activation and commit"),
    ]


def test_what_is_under_way_is_not_pruned() -> None:
    record = run(V1, WANT_2, *_TO_STAGED)
    assert {one.version for one in machine.keeps(record)} == {"1.0.0", "2.0.0"}
    assert {one.version for one in machine.keeps(run(record, Trouble(Reason.HANG)))} == {"1.0.0"}


def test_a_wish_interrupts_only_what_it_makes_vain() -> None:
    downloading, activating = run(V1, WANT_2, Prepared(VARIANT)), run(V1, WANT_2, *_TO_ACTIVATING)
    assert machine.interrupts(downloading, wanted("3.0.0"))
    assert machine.interrupts(downloading, None)
    assert not machine.interrupts(downloading, wanted("2.0.0", rollout="another"))
    assert not machine.interrupts(activating, wanted("3.0.0"))
    assert not machine.interrupts(V1, wanted("2.0.0"))


def test_the_last_failures_are_remembered_and_no_more() -> None:
    record = fresh()
    for number in range(100):
        record = told(run(record, Wanted(wanted(f"1.{number}.0")), Trouble(Reason.DAMAGED)))
    assert len(record.failures) == 64
    assert machine.state(run(record, Wanted(wanted("1.99.0")))) is UpdateState.FAILED
