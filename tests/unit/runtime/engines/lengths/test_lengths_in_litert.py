"""Lengths that values decide in TFLite files: found by the graph, and bounded in this process."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Precision, Signature, TensorSpec, Variant, VariantTensor
from edgemm.errors import BadRequestError
from edgemm_runtime import engines
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.engines.interpreter import SURVIVES_LIMITS
from edgemm_runtime.engines.lengths.tflite_graph import read_graph
from edgemm_runtime.engines.lengths.value_lengths import TFLITE, follow_values
from edgemm_runtime.memory import data_limit, request_memory
from edgemm_runtime.memory.allocator import give_large_memory_back
from simulators import tflite
from simulators.greedy_models import filled, greedy
from simulators.models import Dense

MIB = 1024 * 1024
limited = pytest.mark.skipif(not SURVIVES_LIMITS, reason="tflite-runtime dies of a limit, so it has none")
KINDS = ["FILL", "TILE", "BROADCAST_TO", "OUTER"]


def status_mib(field: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) // 1024


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], WatchedModel]:
    monkeypatch.setattr(request_memory._Allowed, "most_bytes", 64 * MIB)

    def loaded(kind: str) -> WatchedModel:
        shapes = {"n": (1,), "y": (-1, -1) if kind == "OUTER" else (-1,)}
        dtypes = {"n": DType.INT32, "y": DType.FLOAT32}
        [n], [y] = ([VariantTensor(name=one, tensor=one, dtype=dtypes[one], shape=shapes[one])] for one in ("n", "y"))
        variant = Variant(
            id="tflite:float32", engine="tflite", precision=Precision.FLOAT32, minimum_engine="0", blob="0" * 64,
            inputs=(n,), outputs=(y,),
        )  # fmt: skip
        specs = [TensorSpec(name=one, dtype=dtypes[one], shape=shapes[one]) for one in ("n", "y")]
        return engines.load(variant, Signature(inputs=(specs[0],), outputs=(specs[1],)), filled(kind))

    return loaded


@limited
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_long_is_the_requests_fault_and_costs_no_memory(
    load: Callable[[str], WatchedModel], kind: str
) -> None:
    model = load(kind)
    assert model.run({"n": np.array([3], np.int32)})["y"].size in {3, 9}
    before = status_mib("VmHWM")
    for _ in range(3):
        with pytest.raises(BadRequestError, match=r"these values: .* it may take 67,108,864 bytes of memory: send"):
            model.run({"n": np.array([20_000 if kind == "OUTER" else 400_000_000], np.int32)})
        assert model.run({"n": np.array([2], np.int32)})["y"].size in {2, 4}
    assert status_mib("VmHWM") - before < 200
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


@limited
def test_what_fits_is_answered_and_its_memory_given_back(load: Callable[[str], WatchedModel]) -> None:
    give_large_memory_back()  # as a server does
    model = load("FILL")
    assert model.run({"n": np.array([2], np.int32)})["y"].size == 2
    before = status_mib("VmRSS")
    for _ in range(4):
        assert model.run({"n": np.array([8_000_000], np.int32)})["y"].size == 8_000_000
    assert model.run({"n": np.array([2], np.int32)})["y"].size == 2
    assert status_mib("VmRSS") - before < 16


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_tells_that_its_lengths_follow_values(kind: str) -> None:
    assert follow_values(read_graph(filled(kind)), TFLITE)


def test_files_of_other_lengths_tell_that_they_do_not() -> None:
    dense = Dense.random(0)
    for file in (tflite.dense_float32(dense.kernel, dense.bias), greedy(dense.kernel, dense.bias, rows=1)):
        assert not follow_values(read_graph(file), TFLITE)


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, filled()[:100], b"\x10\0\0\0TFL3"])
def test_what_is_no_file_is_said_so(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a TFLite file|ends early"):
        read_graph(data)


def test_a_limit_holds_in_its_blocks_alone_and_a_lower_one_stays() -> None:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    lower = (status_mib("VmData") + 32) * MIB
    resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    try:
        with data_limit.within(512 * MIB):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == lower
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == lower
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, hard))
    with data_limit.within(MIB), data_limit.within(MIB):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] < (status_mib("VmData") + 80) * MIB
        with pytest.raises(MemoryError):
            np.ones(500 * MIB, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
