"""Corrupt models that a publisher signed, through a real agent: the device lives and the old model serves.

Some of each kind here; `python -m benchmarks.corrupt_models` takes all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.corrupt_models import Case, cases
from simulators.corrupt_updates import CorruptUpdates

pytestmark = pytest.mark.slow
EACH = 3


def _some() -> dict[str, Case]:
    """Return the first, a middle and the last of each family and engine."""
    groups: dict[tuple[str, str], list[str]] = {}
    every = cases()
    for name, case in every.items():
        groups.setdefault((case.family, case.variant), []).append(name)
    picked = [names[i * (len(names) - 1) // (EACH - 1)] for names in groups.values() for i in range(EACH)]
    return {name: every[name] for name in picked}


def test_there_are_many_and_each_is_another_file() -> None:
    every = cases()
    assert len(every) >= 200
    assert len({(case.variant, case.data) for case in every.values()}) >= 0.95 * len(every)


def test_a_device_lives_through_corrupt_models(tmp_path: Path) -> None:
    ended = {}
    with CorruptUpdates(tmp_path) as updates:
        for name, case in _some().items():
            ended[name] = (case.family, updates.give(name, case))
        assert updates.stop() == 0
    assert updates.failures == []
    assert updates.answers > len(ended)
    refused = [name for name, (family, end) in ended.items() if family == "flipped" or end.startswith("failed ")]
    assert refused == list(ended), "but for a flipped bit, which may be harmless, none comes to serve"
