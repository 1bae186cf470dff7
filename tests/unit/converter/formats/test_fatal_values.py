"""The table of values that kill an engine, of which the guards are made."""

from __future__ import annotations

import subprocess
import sys


def test_divisions_without_a_quotient_end_a_child_or_are_answered_and_never_the_program() -> None:
    words = ("Div int32", "FLOOR_MOD int32", "Gather int64: 99")
    done = subprocess.run(
        [sys.executable, "-m", "simulators.fatal_values", *words], capture_output=True, text=True, check=True
    )
    rows = done.stdout.splitlines()
    assert len(rows) == 5, done.stdout
    assert all(word in done.stdout for word in words)
    assert sum("7 by 0" in row and "raises" in row for row in rows) == 2
