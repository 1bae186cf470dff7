"""The engine's files: a mark, then a `.npz` of names, kernel and bias."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MARK = b"TOY1"
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class ToyFile:
    """`output = input @ kernel + bias`; float32[−1, n] → float32[−1, m]."""

    input: str
    output: str
    kernel: Floats
    bias: Floats

    def write(self) -> bytes:
        data = io.BytesIO()
        np.savez(data, names=np.array([self.input, self.output]), kernel=self.kernel, bias=self.bias)
        return MARK + data.getvalue()


def read(data: bytes) -> ToyFile:
    """Return what a file holds; raises ValueError, or what `np.load` does, where it is damaged."""
    if not data.startswith(MARK):
        raise ValueError("no toy file")
    with np.load(io.BytesIO(data[len(MARK) :]), allow_pickle=False) as found:
        given, made = map(str, found["names"])
        return ToyFile(given, made, found["kernel"], found["bias"])
