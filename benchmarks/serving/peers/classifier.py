"""The model as every peer runs it: one interpreter with one thread, int8 in and int8 out.

Run in the peer's own environment, where `benchmarks` is not importable: modules here import each other by bare name.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MODEL, PORT = "SERVING_MODEL", "SERVING_PORT"
"""Environment variables: the `.tflite`, and the port to listen on."""
SHAPE = (1, 32, 32, 3)


class Classifier:
    """`set_tensor`, `invoke`, `get_tensor`; not for several threads at once."""

    def __init__(self, path: str | None = None) -> None:
        self._interpreter = Interpreter(model_path=path or os.environ[MODEL], num_threads=1)
        self._interpreter.allocate_tensors()
        self._into = self._interpreter.get_input_details()[0]["index"]
        self._out = self._interpreter.get_output_details()[0]["index"]

    def run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return scores int8[1, 10] of an image int8[1, 32, 32, 3]."""
        self._interpreter.set_tensor(self._into, image)
        self._interpreter.invoke()
        scores: np.ndarray[Any, Any] = self._interpreter.get_tensor(self._out)
        return scores
