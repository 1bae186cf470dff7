"""The header `Date`: there where the time is to be believed, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S, from_text
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock, TimeKeeper
from edgemm_runtime.http.date import DateLine, plausible_time_s

NOW_S = float(from_text("2026-11-29T08:49:37Z"))


def test_a_date_is_that_of_http() -> None:
    assert DateLine(lambda: NOW_S)() == "Date: Sun, 29 Nov 2026 08:49:37 GMT\r\n"


@pytest.mark.parametrize("wall_s", [0.0, BUILD_TIME_S - 86400.0, BUILD_TIME_S + PLAUSIBLE_S + 86400.0])
def test_a_clock_that_is_years_off_is_not_told(wall_s: float) -> None:
    assert plausible_time_s(lambda: wall_s) is None
    assert DateLine(lambda: plausible_time_s(lambda: wall_s))() == ""


def test_it_is_told_once_the_time_is_known_and_looked_up_once_a_second() -> None:
    ticks, known = iter([0.0, 0.5, 1.0, 2.0, 2.9]), iter([None, NOW_S, NOW_S + 1])
    line = DateLine(lambda: next(known), monotonic=lambda: next(ticks))
    told = [line().partition("2026 ")[2].strip() for _ in range(5)]
    assert told == ["", "", "08:49:37 GMT", "08:49:38 GMT", "08:49:38 GMT"]


def test_another_ones_time_is_told_from_the_next_answer_on() -> None:
    line = DateLine(lambda: None)
    assert line() == ""
    line.ask(lambda: NOW_S)
    assert "08:49:37" in line()


def test_a_device_of_a_fleet_believes_no_clock_behind_what_it_knew(tmp_path: Path) -> None:
    wall_s = NOW_S
    folder = StateFolder(tmp_path / "state", reserve_bytes=0)
    keeper = TimeKeeper(folder, Clock(wall=lambda: wall_s), persist_s=3600)
    keeper.keep()
    assert keeper.believed_s() == NOW_S
    wall_s = NOW_S - 7200
    assert keeper.believed_s() is None
    folder.close()
