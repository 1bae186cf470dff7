"""The device runtime: makes predictions and telemetry from bundles, on a device, and never imports TensorFlow.

    model = edgemm_runtime.load("digits-1.0.0.edgemm")
    outputs = model.predict("seven.png")      # a path, bytes, a frame, a PIL image, or the input's numbers
    print(model.top(outputs) or outputs)      # the labels, where the bundle has some

The names below are loaded when they are first used, so that `edgemm doctor` works without NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemm_runtime.models.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("edgemm_runtime.models.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
