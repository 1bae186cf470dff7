"""Pause, resume and next group over the API and on the command line: rights, conflicts, repetition, audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgemm_fleet.client import FleetClient
from edgemm_fleet.commands import rollout as commands
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import audit
from tests.unit.fleet.api.populated import Populated
from tests.unit.fleet.api.servers import RunningFleet, serving

FIRST, REST = Group(count=1, deadline_s=600, soak_s=500), Group(percent=100, deadline_s=600, approve=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RunningFleet]:
    with serving(tmp_path / "fleet") as served:
        yield served


@pytest.fixture
def rollout(fleet: RunningFleet) -> Iterator[str]:
    """A rollout whose first group soaks; the second needs approval."""
    local = Populated(fleet)
    local.add("cam-0", "cam-1")
    yield local.run("1.0.0", FIRST, REST)
    local.store.close()


def post(fleet: RunningFleet, rollout: str, act: str, body: object = None, *, token: str = "operator") -> Any:
    answer = fleet.request("POST", f"/api/v1/rollouts/{rollout}/{act}", token=token, body=json.dumps(body or {}))
    return answer.status, json.loads(answer.data)


def test_a_rollout_is_paused_resumed_and_goes_on(fleet: RunningFleet, rollout: str) -> None:
    status, paused = post(fleet, rollout, "pause", {"reason": "a storm", "for_s": 3600})
    waiting = paused["waiting"]
    assert (status, paused["state"], waiting["kind"], waiting["reason"]) == (200, "paused", "pause", "a storm")
    assert (waiting["until"] - waiting["since"], waiting["then"]) == (pytest.approx(3600), "pause_expired")
    assert post(fleet, rollout, "pause") == (200, paused)
    status, refused = post(fleet, rollout, "next", {"after": 0})
    assert (status, refused["error"]["code"]) == (409, "conflict")
    assert f"resume it first: edgemm fleet rollout resume {rollout}" in refused["error"]["message"]
    status, resumed = post(fleet, rollout, "resume")
    assert (status, resumed["state"], resumed["waiting"]) == (200, "running", None)
    assert post(fleet, rollout, "resume") == (200, resumed)
    status, gone_on = post(fleet, rollout, "next", {"after": 0})
    assert (status, gone_on["groups"][1]["started_at"] is None) == (200, False)
    assert post(fleet, rollout, "next", {"after": 0}) == (200, gone_on)
    assert post(fleet, rollout, "next", {"after": 1})[0] == 409, "its threshold is not reached"
    with fleet.state.store.read() as tx:
        done = [line.action for line in reversed(audit.page(tx).items) if line.actor == "person:operator-person"]
    assert done == ["rollout.pause", "rollout.resume", "rollout.next"]


@pytest.mark.parametrize("act", ["pause", "resume", "next"])
def test_only_operators_may(fleet: RunningFleet, rollout: str, act: str) -> None:
    for token in ("viewer", "publisher"):
        assert post(fleet, rollout, act, token=token)[0] == 403
    assert post(fleet, rollout, act, token="admin")[0] == 200
    assert post(fleet, "r-none", act)[0] == 404


@pytest.mark.parametrize(
    ("act", "body"),
    [
        ("pause", {"for_s": 0}),
        ("pause", {"for_s": 31 * 86400}),
        ("pause", {"reason": "x" * 200}),
        ("pause", {"until": 5}),
        ("next", {"after": -1}),
        ("next", {"after": 64}),
    ],
)
def test_what_is_out_of_bounds_is_refused(fleet: RunningFleet, rollout: str, act: str, body: object) -> None:
    assert post(fleet, rollout, act, body)[0] == 400


def run(monkeypatch: pytest.MonkeyPatch, fleet: RunningFleet, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(commands, "connect", lambda: FleetClient(fleet.profile("operator")))
    found = CliRunner().invoke(commands.rollout, arguments)
    return found.exit_code, found.output if found.exit_code == 0 else f"{found.output}{found.exception}"


def test_the_command_line_does_all_of_it(fleet: RunningFleet, rollout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = run(monkeypatch, fleet, "pause", rollout, "--reason", "a storm", "--for", "2d")
    assert status == 0
    assert said.startswith(f"{rollout} digits 1.0.0 paused; waits for the end of a pause since ")
    assert "(then halted: pause_expired): a storm; group 1: 1 committed" in said
    assert said.rstrip().endswith(f"to go on: edgemm fleet rollout resume {rollout}")
    assert "the end of a pause since" in " ".join(run(monkeypatch, fleet, "list")[1].split())
    status, refused = run(monkeypatch, fleet, "next", rollout)
    assert (status, "is paused, so no group of it starts" in refused) == (1, True)
    status, refused = run(monkeypatch, fleet, "start", rollout)
    assert (status, f"; next: edgemm fleet rollout resume {rollout}" in refused) == (1, True)
    assert json.loads(run(monkeypatch, fleet, "resume", rollout, "--json")[1])["rollout"]["state"] == "running"
    fleet.clock.ahead_s += 501
    fleet.state.rollouts._runner.tick(fleet.state.store, now=fleet.clock())
    said = run(monkeypatch, fleet, "status", rollout)[1]
    assert "waits for a person since" in said
    assert f"to go on: edgemm fleet rollout next {rollout}" in said
    assert json.loads(run(monkeypatch, fleet, "next", rollout, "--json")[1])["groups"][1] == {"prepared": 1}


@pytest.mark.parametrize(
    ("arguments", "approves"),
    [
        ([], [False, False, False]),
        (["--approve"], [False, True, True]),
        (["--approve-group", "3"], [False, False, True]),
    ],
)
def test_groups_that_need_approval(arguments: list[str], approves: list[bool]) -> None:
    from edgemm_fleet.commands.stages import stage_options

    @click.command()
    @stage_options
    def show(stages: tuple[Group, ...]) -> None:
        assert [stage.approve for stage in stages] == approves

    found = CliRunner().invoke(show, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    beyond = CliRunner().invoke(show, ["--approve-group", "4"])
    assert "'--approve-group': 4: there are 3 groups" in beyond.output
