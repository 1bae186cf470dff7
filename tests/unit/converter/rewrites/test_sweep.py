"""Every layer, activation and public function of `keras.ops` answers as in Keras in both engines, or is refused.

Each is tried in all its cases: dimensions, dtypes and options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulators.sweep import gaps

pytestmark = [pytest.mark.tensorflow, pytest.mark.exhaustive]

PARTS = ("networks", "arrays", "recurrent", "layers", "elementwise", "activations")
"""The long ones first: several workers share them."""


@pytest.mark.parametrize("part", PARTS)
def test_each_function_answers_as_in_keras_on_edge_inputs(part: str, told_by: Callable[..., dict[str, Any]]) -> None:
    found = told_by("sweep", part)
    faults = []
    for engine, verdicts in found.items():
        refused = {name for name, verdict in verdicts.items() if str(verdict).startswith("refused: ")}
        declared = {name: reason for name, reason in gaps.REFUSED[engine].items() if name in verdicts}
        print(f"{part}, {engine}: {len(verdicts) - len(refused)} of {len(verdicts)} cases as in Keras")
        for name, reason in declared.items():
            print(f"  {name} is refused: {reason}")
        faults += [f"{engine}: {name}: no longer refused" for name in declared if name not in refused]
        faults += [
            f"{engine}: {name}: {verdict}"
            for name, verdict in verdicts.items()
            if verdict and not (name in refused and (name in declared or name in gaps.RANDOM))
        ]
    assert not faults, "\n".join(faults)


def test_nothing_public_is_left_out(told_by: Callable[..., dict[str, Any]]) -> None:
    for kind, found in told_by("sweep", "list").items():
        covered, declared = len(found["covered"]), len(found["declared"])
        total = covered + declared + len(found["missing"])
        print(f"{kind}: {covered} of {total} have a case, {declared} are declared")
        assert found["missing"] == [], f"{kind}: give each a case in simulators/sweep, or a reason in its gaps.py"
        assert (found["unknown"], found["twice"]) == ([], [])
