"""The model as every peer runs it: one interpreter with one thread, int8 in and int8 out.

Run in the peer's own environment, where `benchmarks` is not importable: modules here import each other by bare name.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MODEL, PORT, INPUT, OUTPUT = "SERVING_MODEL", "SERVING_PORT", "SERVING_INPUT", "SERVING_OUTPUT"
"""Environment variables: the `.tflite`, the port to listen on, and both shapes as words."""


def shape(variable: str) -> tuple[int, ...]:
    """Return the shape that a variable holds."""
    return tuple(map(int, os.environ[variable].split()))


class Classifier:
    """`set_tensor`, `invoke`, `get_tensor`; not for several threads at once."""

    def __init__(self, path: str | None = None) -> None:
        self._interpreter = Interpreter(model_path=path or os.environ[MODEL], num_threads=1)
        self._interpreter.allocate_tensors()
        self._into = self._interpreter.get_input_details()[0]["index"]
        self._out = self._interpreter.get_output_details()[0]["index"]

    def run(self, sample: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the output int8[1, n] of a sample int8[1, …]."""
        self._interpreter.set_tensor(self._into, sample)
        self._interpreter.invoke()
        scores: np.ndarray[Any, Any] = self._interpreter.get_tensor(self._out)
        return scores
