"""CSV as spreadsheets, pandas, NumPy and people write it."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.errors import BadRequestError
from edgemm_runtime.tensors import csv_table

ROWS = [[1.0, -0.5], [0.25, 3.0]]


def values(data: bytes, kind: str = "f") -> list[list[float]]:
    return csv_table.values(csv_table.read(csv_table.decode(data)), kind=kind)


@pytest.mark.parametrize(
    "text",
    [
        "1,-.5\n.25,3", "1,-.5\r\n.25,3\r\n", "1,-.5\r.25,3\r", "\ufeff1,-.5\n.25,3", "a,b\n1,-.5\n.25,3",
        "1;-0,5\n0,25;3", "höhe;b\n1,0;-0,5\n0,25;3", "1;-.5\n.25;3.", "1\t-.5\n.25\t3", "a\tb\n1\t-0,5\n0,25\t3",
        '"1","-0.5"\n"0.25","3"', '"a, in m";"b"\n1;-0,5\n0,25;3', '"x;y",b\n1,-.5\n.25,3', "1, -.5\n .25 ,3",
        "\n\n1,-.5\n\n,\n.25,3\n\n", "1 -.5\n.25   3", "  1e0 -5E-1\n+.25 3\n", "# a b\n1 -.5\n.25 3",
        '\ufeff"a","b"\n1,-.5\n.25,3',
    ],
)  # fmt: skip
def test_every_way_to_write_the_same_numbers(text: str) -> None:
    assert values(text.encode()) == ROWS
    if text.startswith("\ufeff") or "ö" in text:
        assert values(text.encode("utf-16")) == ROWS
    assert values(text.removeprefix("\ufeff").encode("latin-1")) == ROWS


def test_values_that_are_no_finite_numbers_have_their_names() -> None:
    [row] = values(b"nan,NaN,inf,-Infinity,1")
    assert [math.isnan(value) for value in row] == [True, True, False, False, False]
    assert row[2:] == [math.inf, -math.inf, 1]


@pytest.mark.parametrize("kind", ["f", "i", "u"])
def test_a_number_that_no_float_holds_is_no_infinity(kind: str) -> None:
    with pytest.raises(BadRequestError, match="line 2, column 2: '-1e400' is out of the range of numbers"):
        values(b"a,b\n1,-1e400", kind)


def test_a_header_is_a_line_without_any_value() -> None:
    assert csv_table.read("a,b\n1,2").header == ["a", "b"]
    assert csv_table.read("nan,nan\n1,2").header is None
    assert csv_table.read("true,false").header is None
    with pytest.raises(BadRequestError, match="line 1, column 1: expected a number, found 'age'"):
        values(b"age,2019\n1,2")


def test_integers_are_exact_and_booleans_have_their_words() -> None:
    assert values(b"9007199254740993,-3,2.0,+4", "i") == [[9007199254740993, -3, 2, 4]]
    assert [type(value) for value in values(b"1,2.5", "i")[0]] == [int, float]
    assert values(b"true,False,1,0", "b") == [[True, False, True, False]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3,x", "line 2, column 2: expected a number, found 'x'"),
        ("a,b\n\n1,", "line 3, column 2: expected a number, found an empty cell"),
        ("1_0,2", "line 1, column 1"),
        ("1,true", "column 2: expected a number, found 'true'"),
        ('1,2\n"3,4', "line 2: expected a line of CSV, its quotes closed and each cell"),
        (
            '"' + "1" * 200_000 + '"',
            "line 1: expected a line of CSV, its quotes closed and each cell of at most 131,072 c",
        ),
        ("1;0,5\n1.5;2", "line 1, column 2: expected a number, found '0,5'"),
    ],
)
def test_what_is_no_number_is_told_by_its_place(text: str, said: str) -> None:
    with pytest.raises(BadRequestError, match=said):
        values(text.encode())


@given(st.lists(st.lists(st.floats(width=32), min_size=2, max_size=4), min_size=1, max_size=4), st.sampled_from(",;\t"))
def test_what_a_writer_writes_is_read_back(rows: list[list[float]], separator: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=separator).writerows(rows)
    for found, row in zip(values(file.getvalue().encode()), rows, strict=True):
        assert np.array_equal(found, row, equal_nan=True)


@given(st.binary(max_size=200))
def test_whatever_comes_is_numbers_or_an_error_of_the_request(data: bytes) -> None:
    try:
        assert all(isinstance(value, float) for row in values(data) for value in row)
    except BadRequestError as err:
        assert "\n" not in str(err)  # noqa: PT017 - either is right
