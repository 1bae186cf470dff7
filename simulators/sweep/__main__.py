"""Runs one part of the sweep, or lists what there is: one JSON object on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

from simulators import needs

with needs.imports(__name__, "converter"):
    from simulators.sweep import arrays, elementwise, gaps, layers, names, networks, running
    from simulators.sweep.case import Table

PARTS: Mapping[str, Table] = {
    "elementwise": elementwise.OPERATIONS,
    "activations": elementwise.ACTIVATIONS,
    "arrays": {**arrays.REDUCTIONS, **arrays.MADE, **arrays.MOVES},
    "networks": {**networks.NETWORKS, **networks.LINEAR, **networks.SIGNALS, **networks.IMAGES},
    "layers": {**layers.CORE, **layers.POOLS, **layers.CONVOLUTIONS, **layers.PREPARATIONS},
    "recurrent": layers.RECURRENT,
}
OF_LAYERS = ("layers", "recurrent")


def listed() -> dict[str, dict[str, list[str]]]:
    """Return, of operations, layers and activations, what has a case, what is declared, and what is neither."""
    cases = {part: {name.partition(":")[0] for name in table} for part, table in PARTS.items()}
    of_layers = cases["layers"] | cases["recurrent"]
    of_operations = cases["elementwise"] | cases["arrays"] | cases["networks"]
    return {
        "operations": _sorted_out(names.operations(), of_operations, gaps.OPERATIONS),
        "layers": _sorted_out(names.layers(), of_layers, gaps.LAYERS),
        "activations": _sorted_out(names.activations(), cases["activations"], gaps.ACTIVATIONS),
    }


def _sorted_out(public: list[list[str]], cases: set[str], declared: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"covered": [], "declared": [], "missing": []}
    for same in public:
        key = "covered" if cases & set(same) else "declared" if set(declared) & set(same) else "missing"
        found[key].append(min(same, key=len))
    everything = {name for same in public for name in same}
    found["unknown"] = sorted((set(declared) | cases) - everything)
    found["twice"] = sorted(name for name in declared if name in cases)
    return found


if __name__ == "__main__":
    (part,) = sys.argv[1:]
    json.dump(listed() if part == "list" else running.measured(PARTS[part]), sys.stdout)
