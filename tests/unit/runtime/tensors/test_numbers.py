"""Numbers in JSON: the largest integers arrive as they are, and lists that only look flat are refused."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import BadRequestError
from edgemm_runtime.tensors.numbers import read_canonical, read_nested, read_numbers, to_array

LARGE = TensorSpec(name="x", dtype=DType.UINT64, shape=(2,))


@pytest.mark.parametrize("values", [[2**63, 0], [0, 2**64 - 1], [2**63, 2**63]])
def test_large_integers_stand_beside_small_ones(values: list[int]) -> None:
    found = read_numbers(str(values).encode(), LARGE, shape=(2,))
    assert found.dtype == np.uint64
    assert found.tolist() == values


@pytest.mark.parametrize(
    "values", ["[9223372036854775808, -1]", "[18446744073709551616, 0]", "[9223372036854775808, 1.5]"]
)
def test_what_is_no_large_integer_is_refused(values: str) -> None:
    with pytest.raises(BadRequestError, match="input 'x'"):
        read_numbers(values.encode(), LARGE, shape=(2,))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT32, DType.INT64, DType.FLOAT32])
@pytest.mark.parametrize("values", ["[1,[2],3,4]", "[1,2,[3,4]]", "[1,[],2,3,4]", "[1,2,3,4,[]]", "[1,2,3,[[4]]]"])
def test_a_list_in_a_flat_list_is_refused(values: str, dtype: DType) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=(4,))
    with pytest.raises(BadRequestError, match="input 'x'"):
        read_numbers(values.encode(), spec, shape=(4,))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT32, DType.INT64, DType.FLOAT32])
@pytest.mark.parametrize("values", ["[1,2,3,4]", "[ 1 ,\n2,\t3,4 ]", "[1, 2, 3, 4] "])
def test_space_between_numbers_changes_nothing(values: str, dtype: DType) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=(4,))
    assert read_numbers(values.encode(), spec, shape=(4,)).tolist() == [1, 2, 3, 4]


CANONICAL = b"-128,-10,-1,0,9,10,99,127"


@pytest.mark.parametrize("written", [CANONICAL, CANONICAL.replace(b",", b", ")])
def test_canonical_integers_are_read(written: bytes) -> None:
    found = read_canonical(written, DType.INT8, shape=(2, 4))
    assert found is not None
    assert found.tolist() == [[-128, -10, -1, 0], [9, 10, 99, 127]]
    assert found.dtype == np.int8


@pytest.mark.parametrize(
    "written",
    [
        b"", b"1,2,3", b"1,2,3,", b",1,2,3", b"1,,2,3", b"1,2,3,04", b"1,2,3,-0", b"1,2,3,128", b"1,2,3,-129",
        b"1,2,3,+4", b"1,2,3,4.0", b"1,2,3,4e0", b"1,2,3,--4", b"1,2,3,- 4", b"1,2,3 4", b"1 2,3,4,", b"1,2,3,x",
        b"1,2,3,4,5", b"1,2,3,99999999999999999999", b"1,2,3,null", b"1,2,3,-", b"1-2,3,4",
        b"1,2,3,65541", b"1,2,3,-65532", b"1,2,-,65535", b"-,2,3,65535", b"1,2,3,4294967297", b"-,-1,2,255",
    ],
)  # fmt: skip
def test_what_is_no_canonical_list_is_left_to_others(written: bytes) -> None:
    assert read_canonical(written, DType.INT8, shape=(4,)) is None


@given(
    st.text("0129-,+.ex \t", max_size=12) | st.binary(max_size=9).map(lambda data: data.decode("latin-1")),
    st.sampled_from([DType.INT8, DType.UINT8]),
)
@example("1,2", DType.UINT8)
def test_what_is_read_as_canonical_is_json(text: str, dtype: DType) -> None:
    written = text.encode("latin-1")
    found = read_canonical(written, dtype, shape=(written.count(b",") + 1,))
    if found is not None:
        assert json.loads(b"[" + written + b"]") == found.tolist()


def test_many_short_numbers_take_little_beside_what_they_are() -> None:
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, -1))
    raw = b"[[" + b"1," * 300_000 + b"1]]"
    tracemalloc.start()
    try:
        found = read_nested(raw, spec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.shape == (1, 300_001)
    assert peak <= found.nbytes + 4 * len(raw) + 4 * 2**20


def test_integers_of_which_numpy_makes_floats_are_told_as_too_large() -> None:
    spec = TensorSpec(name="x", dtype=DType.INT64, shape=(2,))
    with pytest.raises(BadRequestError, match="numbers beyond 64 bits"):
        read_numbers(b"[0, 9223372036854775808]", spec, shape=(2,))
    with pytest.raises(BadRequestError, match="fractions"):
        to_array([0, 1.5], spec)


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT64])
def test_large_numbers_may_be_spelled_as_integers(dtype: DType) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=(1, 2))
    assert np.array_equal(to_array([[10**20, -0.5]], spec), np.array([[1e20, -0.5]], dtype.value))
    for strange in (True, None, "1"):
        with pytest.raises(BadRequestError, match=f"expected {dtype} values"):
            to_array([[10**20, strange]], spec)
    with pytest.raises(BadRequestError, match="out of its range|out of the range"):
        to_array([[10**400, 1]], spec)


def test_an_integer_beyond_a_narrow_float_is_out_of_its_range() -> None:
    with pytest.raises(BadRequestError, match=r"1e\+20 is out of the range of float16"):
        to_array([10**20], TensorSpec(name="x", dtype=DType.FLOAT16, shape=(1,)))
