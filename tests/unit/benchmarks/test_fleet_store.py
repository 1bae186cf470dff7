"""The benchmark of the fleet's store: what it prints, at a few devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.device_filters import fill
from benchmarks.fleet_store.figures import measured

pytestmark = [pytest.mark.fleet, pytest.mark.sqlite]


def test_it_prints_the_figures_that_are_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "fleet.db", 600)
    figures = measured(tmp_path / "fleet.db", 600, told=20, filters=False)
    for name in ("prepare_s", "start_s", "halt_s", "retract_rate", "longest_write_s", "bare_prepare_s"):
        assert isinstance(figures[name], float), name
    assert figures["told"] == pytest.approx(figures["retracted"], abs=1)
    kinds: Any = figures["writes_of"]
    assert next(iter(kinds.values()))["longest_s"] == figures["longest_write_s"]
    assert {"Preparer._prepare", "HandOuts._tell", "HandOuts._withdraw"} <= kinds.keys()
