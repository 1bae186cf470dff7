"""Many numbers are read and written in pieces, and are the same."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.tensors import numbers, pieces


@pytest.mark.parametrize(
    "shape", [(), (0,), (3,), (4097,), (2, 4097), (100, 50), (3, 2, 5000), (5000, 1), (2, 3, 4), (1, 1, 9000)]
)
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "float64"])
def test_json_of_an_array_is_that_of_its_lists(shape: tuple[int, ...], dtype: str) -> None:
    array = (np.random.default_rng(0).normal(size=shape) * 9).astype(dtype)
    assert pieces.json_of(array) == msgspec.json.encode(array.tolist())
    assert msgspec.json.encode({"y": pieces.listed(array)}) == msgspec.json.encode({"y": array.tolist()})


def test_joined_is_the_json_of_all() -> None:
    assert pieces.joined(iter([[1, 2], [3]])) == b"[1,2,3]"
    assert pieces.joined(iter([[{"a": 1}]]), lambda value: json.dumps(value).encode()) == b'[{"a": 1}]'
    assert pieces.joined(iter([])) == b"[]"


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 1, 2), (1, 1, 1), (2, 3, 4, 5)])
def test_the_shape_of_lists_is_told_by_their_brackets(shape: tuple[int, ...]) -> None:
    text = msgspec.json.encode(np.ones(shape).tolist())
    assert pieces.shape_of(bytes(mark for mark in text if mark in b"[],")) == shape


def spec(*shape: int, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec(name="x", dtype=dtype, shape=shape)


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT16, DType.UINT64, DType.FLOAT16, DType.INT64])
def test_many_numbers_are_read_as_few_are(dtype: DType) -> None:
    array = (np.random.default_rng(1).uniform(0, 99, size=(300, 700))).astype(dtype.value)
    text = json.dumps(array.tolist()).encode()
    assert len(text) > 4 * pieces.PIECE_BYTES
    found = numbers.read_numbers(text, spec(-1, 700, dtype=dtype), shape=(300, 700))
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    flat = json.dumps(array.ravel().tolist()).encode()
    assert np.array_equal(numbers.read_numbers(flat, spec(-1, 700, dtype=dtype), shape=(300, 700)), array)


def test_lists_of_any_size_are_read_where_the_input_takes_any() -> None:
    array = np.random.default_rng(1).normal(size=(1, 120, 90, 3)).astype(np.float32)
    found = numbers.read_nested(msgspec.json.encode(array.tolist()), spec(-1, -1, -1, 3))
    assert found is not None
    assert np.array_equal(found, array)
    assert numbers.read_nested(b"[[[[1,2,3],[1,2]]]]", spec(-1, -1, -1, 3)) is None
    assert numbers.read_nested(b"[[[[1,2]]]]", spec(-1, -1, -1, 3)) is None
    sample = numbers.read_nested(b"[[[1,2,3],[4,5,6]]]", spec(-1, -1, -1, 3))
    assert sample is not None
    assert sample.shape == (1, 1, 2, 3)


@pytest.mark.parametrize("wrong", [b'"0"', b"null", b"[0]", b"true", b'"a,b"', b"1e99"])
def test_one_wrong_value_among_many_is_refused(wrong: bytes) -> None:
    text = b"[" + b",".join([b"0.5"] * 200_000 + [wrong]) + b"]"
    with pytest.raises((BadRequestError, TooLargeError)):
        numbers.read_numbers(text, spec(-1), shape=(200_001,))


def test_json_that_takes_long_in_one_piece_is_refused() -> None:
    pieces.check_whole(b"[" + b"0," * 500_000 + b"0]", "it")
    pieces.check_whole(b'"' + b"A" * 8_000_000 + b'"', "it")
    for text in (b"[" + b"0," * 600_000 + b"0]", b"[" * 2_000_000, b'"' + b"A" * 9_000_000 + b'"'):
        with pytest.raises(TooLargeError, match="binary tensors"):
            pieces.check_whole(text, "it")
    pieces.check_length(16 * 1024 * 1024)
    with pytest.raises(TooLargeError, match="binary tensors"):
        pieces.check_length(16 * 1024 * 1024 + 1)
