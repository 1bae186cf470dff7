"""What JSON takes when it is read or written is at most what was counted for it, and not many times less."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.memory.memory_budget import MemoryBudget, here
from edgemm_runtime.serving.protocols.predict import csv_columns, forms, npy_body
from edgemm_runtime.tensors.json_memory import hold_parsed, hold_written
from edgemm_runtime.tensors.named_arrays import Array

TEXTS = {
    "floats": json.dumps(np.random.default_rng(0).random((2000, 20)).tolist()),
    "small integers": json.dumps([[1, 2, 3]] * 20_000),
    "large integers": json.dumps([2**62 + n for n in range(30_000)]),
    "empty lists": json.dumps([[]] * 50_000, separators=(",", ":")),
    "lists of one": json.dumps([[1.5]] * 50_000),
    "objects": json.dumps([{"a": 1}] * 20_000, separators=(",", ":")),
    "large objects": json.dumps([dict.fromkeys("abcdefgh", 0.5)] * 4_000),
    "text": json.dumps(["ab"] * 50_000),
    "one text": json.dumps("a" * 300_000),
    "escaped text": '["' + "a" * 300_000 + '\\ud83d\\ude00"]',
    "wide text": json.dumps("a" * 300_000 + "😀", ensure_ascii=False),
}


def held_by(counting: Callable[[], object]) -> int:
    here.holding = MemoryBudget(2**40).holding()
    try:
        counting()
        return here.holding.held_bytes
    finally:
        here.holding = None


@pytest.mark.parametrize("name", TEXTS)
def test_reading_takes_no_more_than_is_counted(name: str) -> None:
    text = TEXTS[name].encode()
    tracemalloc.start()
    try:
        found = msgspec.json.decode(text)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert taken <= held_by(lambda: hold_parsed(text))


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize(("cell", "width"), [("0.5", 1000), ("-1.5", 10), ("1", 1), ("", 5000)])
def test_reading_csv_takes_no_more_than_is_counted(separator: str, cell: str, width: int) -> None:
    text = "\n".join(separator.join([cell] * width) for _ in range(60_000 // width)).encode()
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, width))
    table = b"x\n" + text
    named = Signature(inputs=(TensorSpec(name="x", dtype=DType.STRING, shape=(-1, 1)),), outputs=())
    for read in (lambda: forms.read_csv(text, spec, None), lambda: csv_columns.read(table, named)):
        tracemalloc.start()
        try:
            with contextlib.suppress(BadRequestError):
                read()
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        def again(read: Callable[[], object] = read) -> None:
            with contextlib.suppress(BadRequestError):
                read()

        assert taken <= held_by(again)


@pytest.mark.parametrize("value", ["ab", "\U0001f600a", "x" * 40])
def test_a_file_of_strings_takes_no_more_than_is_counted(value: str) -> None:
    file = io.BytesIO()
    np.save(file, np.full((50_000, 1), value))
    spec = TensorSpec(name="x", dtype=DType.STRING, shape=(-1, 1))
    tracemalloc.start()
    try:
        npy_body.read(file.getvalue(), spec, None)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken <= held_by(lambda: npy_body.read(file.getvalue(), spec, None)) + len(file.getvalue())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint8, np.int64])
def test_writing_takes_no_more_than_is_counted(dtype: type) -> None:
    random = np.random.default_rng(0)
    numbers = random.random(40_000) * 1e-7 if np.dtype(dtype).kind == "f" else random.integers(0, 100, 40_000)
    array: Array = numbers.astype(dtype)
    tracemalloc.start()
    try:
        text = msgspec.json.encode(array.tolist())
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text
    assert taken <= held_by(lambda: hold_written([array]))


def test_what_does_not_fit_is_refused_and_what_is_small_is_not_counted() -> None:
    here.holding = MemoryBudget(1_000_000).holding()
    try:
        hold_parsed(b"[" + b"1," * 5000 + b"1]")
        assert here.holding.held_bytes == 0
        with pytest.raises(TooLargeError):
            hold_parsed(b"[" + b"1," * 50_000 + b"1]")
    finally:
        here.holding = None
