"""Numbers in JSON: the largest integers arrive as they are, and lists that only look flat are refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgemm.errors import BadRequestError
from edgemm.manifest import DType, TensorSpec
from edgemm_runtime.numbers import read_numbers

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
