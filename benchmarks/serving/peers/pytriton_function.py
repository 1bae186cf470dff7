"""PyTriton's inference function. It is pickled by name into another process: the interpreter is made there."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from classifier import Classifier


@cache
def classifier() -> Classifier:
    """Return this process' interpreter."""
    return Classifier()


def infer(requests: list[Any]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Answer requests one by one; PyTriton calls this."""
    return [{"y": classifier().run(np.ascontiguousarray(request.data["x"]))} for request in requests]
