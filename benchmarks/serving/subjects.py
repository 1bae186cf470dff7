"""The models that the servers are asked for: MLPerf Tiny's int8 files, and three inputs of each.

The image classifier takes some 50 to 250 µs, so that a ratio says as much of a CPU's kernels as of a server. The
autoencoder takes a few: what is measured there is the server's own cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int8: TypeAlias = npt.NDArray[np.int8]
SAMPLES = 3


@dataclass(frozen=True)
class Affine:
    """An int8 tensor of the file: its name, shape and quantization."""

    tensor: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    def reals(self, codes: Int8) -> npt.NDArray[np.float32]:
        """Return float32 values: (codes − zero point) × scale."""
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def codes(self, reals: npt.NDArray[Any]) -> Int8:
        """Return the int8 codes that `reals` was asked for."""
        steps: npt.NDArray[np.float32] = np.rint(reals / np.float32(self.scale)) + self.zero_point
        return steps.astype(np.int8)


@dataclass(frozen=True)
class Wanted:
    """What is to be reached against MLServer, and of the limit, in the same run; None where that says nothing."""

    latency: float
    throughput: float
    json: float
    limit: float | None = None


@dataclass(frozen=True)
class Subject:
    """One file with one int8 input and one int8 output, both with a batch of 1."""

    file: str
    """Below the folder of shared models."""
    input: Affine
    output: Affine
    samples: Callable[[], Int8]
    """Return inputs int8[3, 1, …], each of which has another answer."""
    wanted: Wanted


def _images() -> Int8:
    """Return 3 images of coloured squares, int8[3, 1, 32, 32, 3]."""
    made = []
    for seed in range(SAMPLES):
        random = np.random.default_rng(seed)
        squares = random.integers(0, 256, (1, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
        made.append(np.clip(squares + random.normal(0, 20, (1, 32, 32, 3)), 0, 255).astype(np.uint8))
    return (np.stack(made).astype(np.int16) - 128).astype(np.int8)


def _frames() -> Int8:
    """Return 3 windows of 5 frames of 128 mel bins, int8[3, 1, 640]: a slow curve and noise."""
    random, bins = np.random.default_rng(0), np.arange(640)
    curves = [60 * np.sin(bins / (20 + 7 * number)) + random.normal(0, 12, 640) for number in range(SAMPLES)]
    return np.clip(np.stack(curves), -128, 127).astype(np.int8).reshape(SAMPLES, 1, 640)


SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "classifier": Subject(
            "models/mlperf-tiny/pretrainedResnet_quant.tflite",
            Affine("input_1_int8", (1, 32, 32, 3), 1.0, -128),
            Affine("Identity_int8", (1, 10), 1 / 256, -128),
            _images,
            Wanted(latency=4, throughput=8, json=2.5, limit=1.25),
        ),
        "autoencoder": Subject(
            "models/mlperf-tiny/ad01_int8.tflite",
            Affine("input_1", (1, 640), 0.3910152316093445, 89),
            Affine("Identity", (1, 640), 0.36449846625328064, 96),
            _frames,
            Wanted(latency=6, throughput=8, json=3),
        ),
    }
)
CLASSIFIER = SUBJECTS["classifier"]
