"""The number of a start: above the last one, no less than the time, and one that the fleet believes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm.messages import most_boots
from edgemm.times import BUILD_TIME_S, PLAUSIBLE_S
from edgemm_runtime.agent.state.boot_count import count_boot
from edgemm_runtime.agent.state.documents import BootFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock, TimeKeeper

NOW_S = BUILD_TIME_S + 100 * 86400
MOST = most_boots(NOW_S)


def count(folder: StateFolder) -> int:
    return count_boot(folder, TimeKeeper(folder, Clock(wall=lambda: NOW_S), persist_s=60))


@pytest.mark.parametrize("kept", [2**53 - 1, 2**36, MOST, MOST - 1])
def test_a_number_that_the_fleet_would_not_believe_is_taken_for_lost(tmp_path: Path, kept: int) -> None:
    folder = StateFolder(tmp_path)
    first = count(folder)
    assert first >= NOW_S
    folder.write("boot.json", BootFile(count=kept))
    second = count(folder)
    assert first < second <= MOST
    assert (second == MOST) is (kept == MOST - 1)
    assert count(folder) > first
    folder.close()


def test_no_clock_that_is_believed_makes_a_number_that_the_fleet_does_not_believe(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    ahead = TimeKeeper(folder, Clock(wall=lambda: BUILD_TIME_S + PLAUSIBLE_S), persist_s=60)
    assert count_boot(folder, ahead) < count_boot(folder, ahead) < most_boots(BUILD_TIME_S)
    folder.close()
