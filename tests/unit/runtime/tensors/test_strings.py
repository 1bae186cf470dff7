"""Strings in lists, JSON and `.npy` files: any text of UTF-8, many of them in pieces, and nothing that is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgemm.bundle.manifest import MISSING_TEXT, DType, TensorSpec
from edgemm.errors import BadRequestError, BundleError, TooLargeError
from edgemm_runtime.memory.memory_budget import MemoryBudget, here
from edgemm_runtime.serving.protocols.v2 import string_elements
from edgemm_runtime.tensors import npy, pieces, strings
from edgemm_runtime.tensors.batching import identical
from edgemm_runtime.tensors.comparison import errors, largest_error, same_classes, spread
from edgemm_runtime.tensors.element_types import size_of
from edgemm_runtime.tensors.numbers import read_nested, read_numbers, to_array

SPEC = TensorSpec(name="city", dtype=DType.STRING, shape=(-1, 1))
FLAT = TensorSpec(name="city", dtype=DType.STRING, shape=(-1,))
MILLION = 1_000_000


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["],[", '","', "a],", ",", "]"]), min_size=1, max_size=40),
    st.booleans(),
)
def test_what_is_read_in_pieces_is_what_is_read_at_once(values: list[str], spaced: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 24)
        for spec, lists in ((FLAT, values), (SPEC, [[value] for value in values])):
            raw = json.dumps(lists, ensure_ascii=False, separators=None if spaced else (",", ":")).encode()
            found = read_nested(raw, spec)
            assert found is not None
            assert found.ravel().tolist() == values
            again = read_numbers(raw, spec, shape=(len(values), *spec.shape[1:]))
            assert again.tolist() == found.tolist()


def test_a_million_strings_are_read_in_pieces_and_counted() -> None:
    values = [f"street {index}, Graz" for index in range(MILLION)]
    raw = json.dumps(values, separators=(",", ":")).encode()
    found = read_nested(raw, SPEC)
    assert found is not None
    assert found.shape == (MILLION, 1)
    assert found[[0, 77, -1], 0].tolist() == [values[0], values[77], values[-1]]
    behind = string_elements.packed(found)
    assert string_elements.read(behind, "city", shape=(MILLION, 1)).tolist() == found.tolist()
    assert size_of(found) > 100 * MILLION
    here.holding = MemoryBudget(64 * 2**20).holding()
    try:
        with pytest.raises(TooLargeError, match="bytes of memory"):
            read_nested(raw, SPEC)
        with pytest.raises(TooLargeError, match="bytes of memory"):
            string_elements.read(behind, "city", shape=(MILLION, 1))
    finally:
        here.holding = None


def test_what_is_not_read_in_pieces_is_refused_where_it_is_long() -> None:
    raw = json.dumps(['say "hi"'] * 200_000).encode()
    with pytest.raises(TooLargeError, match="bytes of JSON"):
        read_numbers(raw, FLAT, shape=(200_000,))
    one_long = json.dumps(["x" * 2_000_000, *["y"] * 70_000]).encode()
    with pytest.raises(TooLargeError, match="bytes of JSON"):
        read_numbers(one_long, FLAT, shape=(70_001,))


def test_a_bad_string_is_named_by_its_place_in_all() -> None:
    values = ["street"] * 50_000
    values[40_000] = "x" * (strings.MOST_CHARACTERS + 1)
    with pytest.raises(BadRequestError, match=r"string 40000 \(from 0\): expected at most"):
        read_numbers(json.dumps(values).encode(), FLAT, shape=(50_000,))


@pytest.mark.parametrize("text", ["", "\0", "a\0", "ö😀", "\ufeff", "x" * strings.MOST_CHARACTERS])
def test_any_text_is_a_string(text: str) -> None:
    assert to_array([[text]], SPEC).tolist() == [[text]]
    assert read_numbers(json.dumps([text]).encode(), FLAT, shape=(1,)).tolist() == [text]
    packed = string_elements.packed(np.array([text], object))
    assert string_elements.read(packed, "city", shape=(1,)).tolist() == [text]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a", 1], "row 1 (from 0): expected a string, found 1"),
        ([["a"], [None]], "row 1 (from 0): expected a string, found null"),
        ([np.str_("a"), None], "row 1 (from 0): expected a string, found null"),
        ([np.str_("a"), "b", 5], "row 2 (from 0): expected a string, found 5"),
        (["a", b"b"], "found a value of the type bytes"),
        (["a", "\ud800"], "string 1 (from 0): expected text of UTF-8, found half a surrogate pair"),
        (["x" * (strings.MOST_CHARACTERS + 1)], "expected at most 65,536 characters, found 65,537"),
        ([["a"], ["b", "c"]], "expected strings of one shape"),
        (np.array([1.5]), "expected a string, found 1.5"),
        (np.array([0x110000, 0], "<u4").view("<U1"), "expected text of Unicode"),
    ],
)
def test_what_is_no_string_is_named(values: object, said: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        to_array(values, FLAT)
    assert said in str(refused.value)


def test_numpys_own_texts_are_strings() -> None:
    assert to_array(np.array(["a", "ö"]), FLAT).tolist() == ["a", "ö"]
    assert [type(one) for one in to_array(np.array([np.str_("a"), "b"], object), FLAT).tolist()] == [str, str]


def test_a_file_keeps_strings_but_for_one_that_ends_in_nul() -> None:
    values = np.array([["a\0b", ""], ["ö😀", "x"]], object)
    assert npy.read_strings(npy.write_npy(values), name="city").tolist() == values.tolist()
    with pytest.raises(ValueError, match="ends in a NUL"):
        npy.write_npy(np.array(["a\0"], object))
    with pytest.raises(BundleError, match="expected strings, found float32"):
        npy.read_strings(npy.write_npy(np.zeros(1, np.float32)), name="city")
    with pytest.raises(BundleError, match="no character"):
        npy.read_strings(npy.write_npy(np.array([0x110000], "<u4").view("<U1")), name="city")


def test_strings_are_compared_as_the_same_or_not() -> None:
    left, right = np.array(["a", "b", ""], object), np.array(["a", "c", ""], object)
    assert errors(left, right).tolist() == [0, 1, 0]
    assert (largest_error(left, left), largest_error(left, right), spread(left)) == (0, 1, 1)
    assert bool(same_classes(left, left)) is True
    assert bool(same_classes(left, right)) is False
    assert same_classes(left[:, None], right[:, None]).tolist() == [True, False, True]
    assert float(largest_error(np.array("a", object), np.array("b", object))) == 1
    assert identical({"y": left}, {"y": np.array(["a", "b", ""], object)})
    assert not identical({"y": left}, {"y": right})


def test_a_missing_value_is_null_where_the_model_takes_one() -> None:
    spec = TensorSpec(name="age", dtype=DType.FLOAT32, shape=(-1,), missing=True)
    for raw in (b"[1, null, 2.5]", b"[" + b"1, null, 2.5, " * 30_000 + b"1, null, 2.5]"):
        found = read_nested(raw, spec)
        assert found is not None
        assert np.array_equal(found, np.array([1, np.nan, 2.5] * (len(found) // 3), np.float32), equal_nan=True)
    assert read_nested(b"[1, null]", TensorSpec(name="age", dtype=DType.FLOAT32, shape=(-1,))) is None
    assert np.isnan(to_array([None, 1], spec)).tolist() == [True, False]
    with pytest.raises(BadRequestError, match="expected float32 values"):
        to_array([None, 1], TensorSpec(name="age", dtype=DType.FLOAT32, shape=(-1,)))


def test_null_is_a_missing_text_where_the_model_takes_one() -> None:
    for spec in (FLAT, SPEC):
        missing = replace(spec, missing=True)
        lists = ["a", None, ""] if spec is FLAT else [["a"], [None], [""]]
        raw = json.dumps(lists).encode()
        for found in (
            read_nested(raw, missing), read_numbers(raw, missing, shape=(3, *spec.shape[1:])), to_array(lists, missing),
        ):  # fmt: skip
            assert found is not None
            assert found.ravel().tolist() == ["a", MISSING_TEXT, ""]
        with pytest.raises(BadRequestError, match="expected a string, found null"):
            to_array(lists, spec)
