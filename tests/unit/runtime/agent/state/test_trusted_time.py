from __future__ import annotations

from pathlib import Path

import pytest

from edgemm import times
from edgemm.times import BUILD_TIME_S
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock, TimeKeeper
from edgemm_runtime.agent.state.trusted_time import TrustedTime, expired, too_early, trusted_time

YEAR_1970, YEAR_2040 = times.from_text("1970-01-01T00:00:10Z"), times.from_text("2040-06-01T00:00:00Z")
TODAY = BUILD_TIME_S + 100 * 86400


@pytest.mark.parametrize(
    ("story", "system", "last", "seconds", "synced"),
    [
        ("all is well", TODAY, TODAY - 60, TODAY, True),
        ("never written before", TODAY, 0, TODAY, True),
        ("no battery, never online", YEAR_1970, 0, BUILD_TIME_S, False),
        ("no battery, online before", YEAR_1970, TODAY, TODAY, False),
        ("years ahead", YEAR_2040, TODAY, TODAY, False),
        ("years ahead at the first start", YEAR_2040, 0, BUILD_TIME_S, False),
        ("set back by an hour", TODAY - 3600, TODAY, TODAY, False),
        ("set back by a minute, as NTP does", TODAY - 60, TODAY, TODAY, True),
    ],
)
def test_trusted_time(story: str, system: float, last: float, seconds: float, synced: bool) -> None:
    assert trusted_time(system, last_s=last) == TrustedTime(seconds, clock_synced=synced), story


def test_expiry_is_judged_by_what_is_surely_past() -> None:
    unsynced, synced = TrustedTime(TODAY, clock_synced=False), TrustedTime(TODAY, clock_synced=True)
    assert expired(TODAY, unsynced)
    assert not expired(TODAY + 1, synced)
    assert too_early(TODAY + 3600, synced)
    assert not too_early(TODAY + 60, synced), "clocks that are both right may differ a little"
    assert not too_early(TODAY + 3600, unsynced), "a clock that is not right cannot say that it is too early"


def test_time_on_disk_only_rises_and_is_written_rarely(tmp_path: Path) -> None:
    folder, wall = StateFolder(tmp_path), [float(TODAY)]
    keeper = TimeKeeper(folder, Clock(wall=lambda: wall[0]), persist_s=3600)
    assert keeper.now().seconds == TODAY
    first = (tmp_path / "time.json").stat().st_ino
    wall[0] += 3599
    keeper.now()
    assert (tmp_path / "time.json").stat().st_ino == first
    wall[0] += 1
    keeper.now()
    assert (tmp_path / "time.json").stat().st_ino != first

    wall[0] = YEAR_1970
    assert keeper.now() == TrustedTime(TODAY + 3600, clock_synced=False)
    again = TimeKeeper(folder, Clock(wall=lambda: wall[0]), persist_s=3600)
    assert again.now() == TrustedTime(TODAY + 3600, clock_synced=False)
    folder.close()
