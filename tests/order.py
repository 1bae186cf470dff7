"""In which order the tests of a run begin: what takes long first, or it would run alone at the end.

The rest stays as it was collected, which is at random. `LONG` need not be complete, nor exact: what is not in it counts
as a second for each of its tests that one worker runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

LONG: Mapping[str, int] = {
    "tests/e2e/test_demo.py": 80,
    "tests/e2e/test_main_job.py": 60,
    "tests/e2e/test_clocks.py": 45,
    "tests/unit/fleet/server/test_process.py": 45,
    "tests/unit/converter/rewrites/test_sweep.py": 30,
    "tests/scenarios/device/test_kill_points.py": 30,
    "tests/e2e/test_bad_bundles.py": 30,
    "tests/e2e/test_trust.py": 30,
    "tests/e2e/test_zoo.py": 25,
    "tests/unit/converter/test_determinism.py": 25,
    "tests/unit/converter/sources/test_source_kinds.py": 40,
    "tests/unit/converter/parting/test_parting.py": 30,
    "tests/unit/converter/test_repeats.py": 30,
    "tests/scenarios/device/test_turned_back_alone.py": 40,
    "tests/scenarios/device/test_killed_agent.py": 25,
    "tests/e2e/test_precision_search.py": 20,
    "tests/unit/converter/test_converter_page.py": 20,
    "tests/cases/fleet/test_refused_desired_loop.py": 18,
    "tests/cases/fleet/test_restored_backup.py": 18,
    "tests/cases/fleet/test_slow_api_clients.py": 17,
    "tests/cases/fleet/test_enrolment_race_mosquitto.py": 15,
    "tests/scenarios/device/test_corrupt_models.py": 15,
    "tests/e2e/test_lost_keys.py": 15,
    "tests/e2e/converter/test_toy_engine.py": 15,
    "tests/unit/converter/test_convert_published.py": 13,
    "tests/e2e/test_recovery.py": 12,
}
"""Modules → seconds on a quiet machine: of all their tests where one worker runs them, else of the longest."""

Item = TypeVar("Item")


def longest_first(items: Sequence[Item], *, module: Callable[[Item], str], unit: Callable[[Item], str]) -> list[Item]:
    """Return tests in another order; `unit` names what one worker runs in one go: a module, or a test alone."""
    counts = Counter(map(unit, items))
    return sorted(items, key=lambda item: -LONG.get(module(item), counts[unit(item)]))
