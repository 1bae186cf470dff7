"""Data of named columns: CSV and records, as texts and numbers, for the inputs that take them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.manifest import MISSING_TEXT, DType, TensorSpec
from edgemm.errors import InputError
from edgemm_converter.data import column_data, datasets

AGE = TensorSpec(name="age", dtype=DType.FLOAT32, shape=(-1,), missing=True)
CITY = TensorSpec(name="city", dtype=DType.STRING, shape=(-1,))
PLAN = TensorSpec(name="plan", dtype=DType.INT64, shape=(-1,))
COLUMNS = (AGE, CITY, PLAN)


def read(path: Path, text: str, *, labelled: bool = False) -> datasets.Dataset:
    path.write_text(text)
    return datasets.read(path, declared={}, labels=None, labelled=labelled, raw=True)


def test_cells_are_what_their_input_takes(tmp_path: Path) -> None:
    found = read(tmp_path / "d.csv", "id,city,plan,age\n1, Graz,2,31\n2,08010,3,\n")
    arrays = column_data.for_inputs(found.arrays, COLUMNS, (), path="d.csv")
    assert list(arrays) == ["age", "city", "plan"]
    assert arrays["city"].tolist() == [" Graz", "08010"]
    assert arrays["plan"].dtype == np.int64
    assert np.array_equal(arrays["age"], [31, np.nan], equal_nan=True)


def test_an_empty_cell_is_a_missing_text_where_there_are_some(tmp_path: Path) -> None:
    found = read(tmp_path / "d.csv", "city,age\n,1\nGraz,2\n")
    city = TensorSpec(name="city", dtype=DType.STRING, shape=(-1,), missing=True)
    for spec, text in ((CITY, ""), (city, MISSING_TEXT)):
        arrays = column_data.for_inputs(found.arrays, (spec, AGE), (), path="d.csv")
        assert arrays["city"].tolist() == [text, "Graz"]


def test_columns_of_one_table_stand_in_the_models_order(tmp_path: Path) -> None:
    spec = TensorSpec(name="input", dtype=DType.FLOAT32, shape=(-1, 2))
    found = read(tmp_path / "d.csv", "b,a,labels\n1,2,yes\n3,4,no\n", labelled=True)
    assert found.labels is not None
    assert found.labels.tolist() == ["yes", "no"]
    for order, rows in ((("a", "b"), [[2, 1], [4, 3]]), ((), [[1, 2], [3, 4]])):
        assert column_data.for_inputs(found.arrays, (spec,), order, path="d")["input"].tolist() == rows


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_texts_of_which_one_is_far_longer_are_not_all_given_its_room(suffix: str, tmp_path: Path) -> None:
    texts = ["x" * 100_000, *["x"] * 9_999]
    lines = ["city", *texts] if suffix == ".csv" else [json.dumps({"city": text}) for text in texts]
    with pytest.raises(InputError, match=r"'city' has 10,000 texts, the longest of 100,000 characters, .* 3.7 GiB"):
        read(tmp_path / f"d{suffix}", "\n".join(lines))


def test_names_as_lightgbm_keeps_them_are_the_same(tmp_path: Path) -> None:
    spec = TensorSpec(name="input", dtype=DType.FLOAT32, shape=(-1, 2))
    found = read(tmp_path / "d.csv", "of b,a\n1,2\n")
    assert column_data.for_inputs(found.arrays, (spec,), ("a", "of_b"), path="d")["input"].tolist() == [[2, 1]]


def test_a_table_of_which_some_names_are_the_models_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="input", dtype=DType.FLOAT32, shape=(-1, 2))
    found = read(tmp_path / "d.csv", "b,A\n1,2\n")
    with pytest.raises(InputError, match=r"d: expected the columns .* fitted on, a, b; missing: 'a': name them"):
        column_data.for_inputs(found.arrays, (spec,), ("a", "b"), path="d")
    others = column_data.for_inputs(found.arrays, (spec,), ("f0", "f1"), path="d")
    assert others["input"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age,city\n1,Graz\n", "missing: 'plan'"),
        ("age,city,plan\nold,Graz,1\n", "sample 1, column 'age': expected a number, found 'old'"),
        ("age,city,plan\n1,Graz,1.5\n", "sample 1, column 'plan': expected an integer, found '1.5'"),
        ("age,age,plan\n1,2,3\n", "expected a name for each column, found 'age' twice"),
        ("age,city,plan\n1,2\n", "line 2: expected 3 cells as in the first, found 2"),
        ("age,city,plan\n", "expected lines of numbers, found none|expected lines below the names, found none"),
    ],
)
def test_what_does_not_fit_is_told_by_column(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        column_data.for_inputs(read(tmp_path / "d.csv", text).arrays, COLUMNS, (), path="d.csv")


@pytest.mark.parametrize("form", ["records", "columns", "inputs", "lines"])
def test_records_in_json_are_columns(form: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"age": 31, "city": "Graz", "plan": 1}, {"age": None, "city": "Wien", "plan": 2}]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    bodies: dict[str, object] = {"records": rows, "columns": columns, "inputs": {"inputs": columns}}
    path = tmp_path / ("d.jsonl" if form == "lines" else "d.json")
    found = read(path, "\n".join(map(json.dumps, rows)) if form == "lines" else json.dumps(bodies[form]))
    arrays = column_data.for_inputs(found.arrays, COLUMNS, (), path="d")
    assert np.array_equal(arrays["age"], [31, np.nan], equal_nan=True)
    assert (arrays["city"].tolist(), arrays["plan"].tolist()) == (["Graz", "Wien"], [1, 2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "expected records with the same names"),
        ('[{"a": 1}, {"b": 2}]', "expected records with the same names"),
        ('{"a": [1], "b": [1, 2]}', "expected columns of one length"),
        ('[{"a": "x"}, {"a": 1}]', "column 'a': expected texts alone, or numbers alone, found int, str"),
        ("[", "expected JSON of records"),
        ("[]", "found none"),
    ],
)
def test_what_is_no_records_is_told(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path / "d.json", text)
