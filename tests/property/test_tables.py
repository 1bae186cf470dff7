"""A table of mixed columns is the same table, and gets the same answer, in every form in which it can be sent."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import edgemm_runtime
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest
from edgemm_runtime.models.model import Model
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import forms
from edgemm_runtime.serving.protocols.tensorflow import codec as tensorflow_codec
from edgemm_runtime.serving.protocols.v2 import codec as v2_codec
from edgemm_runtime.serving.protocols.v2 import messages
from edgemm_runtime.tensors.named_arrays import Arrays
from simulators.tables import CITIES, INPUTS, ROWS, Row, answer, arrays, make_table
from simulators.v2_client import encode_request

pytestmark = pytest.mark.runtime

_ODD = [
    "",
    " ",
    "a,b",
    'say "hi"',
    "two\nlines",
    "a\r\nb",
    "\t;",
    "\0",
    "nul\0",
    "ö😀",
    "null",
    "NaN",
    "1e3",
    "[",
    "\\",
]
cities = st.sampled_from([*CITIES, *_ODD]) | st.text(max_size=20)
rows = st.lists(
    st.builds(
        Row,
        st.none() | st.floats(-(2.0**100), 2.0**100, width=32),
        st.integers(-(2**50), 2**50),
        cities,
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Model]:
    path: Path = tmp_path_factory.mktemp("table") / "visits-1.0.0.edgemm"
    make_table(path)
    with open_bundle(path) as bundle:
        return bundle.manifest, edgemm_runtime.load(path)


def _csv(listed: Sequence[Row], names: Sequence[str], separator: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow(names)
    for row in listed:
        fields = row._asdict() | {"age": "" if row.age is None else repr(row.age)}
        writer.writerow([fields[name] for name in names])
    return text.getvalue().encode()


def _in_each_form(listed: list[Row], manifest: Manifest, names: Sequence[str]) -> dict[str, Arrays]:
    signature, given_arrays = manifest.signature, arrays(listed)
    columns: dict[str, Any] = {name: [getattr(row, name) for row in listed] for name in names}
    pairs = {name: [[value] for value in values] for name, values in columns.items()}
    records = [{name: getattr(row, name) for name in names} for row in listed]
    v2: dict[str, Any] = {
        "inputs": [
            {"name": spec.name, "datatype": messages.DATATYPES[spec.dtype], "shape": shape, "data": columns[spec.name]}
            for spec in INPUTS
            for shape in [[len(listed), *spec.shape[1:]]]
        ]
    }
    other_axes = {
        "inputs": [
            one | {"shape": [len(listed)] if len(one["shape"]) == 2 else [len(listed), 1]} for one in v2["inputs"]
        ]
    }
    binary, length = encode_request(given_arrays, binary=True)
    codec = v2_codec.Codec(signature, name="visits", version="1.0.0")

    def predicted(body: Any) -> Arrays:
        return forms.decode(json.dumps(body).encode(), manifest, content_type="application/json")

    found = {
        "columns": predicted({"inputs": columns}),
        "pairs": predicted({"X": pairs}),
        "without escapes": predict_codec.decode_request(
            json.dumps({"inputs": columns}, ensure_ascii=False).encode(), signature
        ),
        "records": predicted(records),
        "instances": predicted({"instances": records}),
        "v1 instances": tensorflow_codec.decode(
            tensorflow_codec.Verb.PREDICT, json.dumps({"instances": records}).encode(), signature
        ).inputs,
        "v1 inputs": tensorflow_codec.decode(
            tensorflow_codec.Verb.PREDICT, json.dumps({"inputs": columns}).encode(), signature
        ).inputs,
        "v2": codec.decode(json.dumps(v2).encode()).inputs,
        "v2, the other axes": codec.decode(json.dumps(other_axes).encode()).inputs,
        "v2, binary": codec.decode(binary, header_length=str(length)).inputs,
    }
    for separator in ",;\t":
        table = _csv(listed, names, separator)
        found[f"CSV {separator}"] = forms.decode(table, manifest, content_type="text/csv")
    return found


@given(rows, st.permutations([spec.name for spec in INPUTS]))
@settings(max_examples=60)
@example([*ROWS, Row(-0.0, 0, " Graz ", member=True)], ["city", "age", "member", "visits"])
def test_a_table_is_the_same_in_every_form(table: tuple[Manifest, Model], listed: list[Row], names: list[str]) -> None:
    manifest, model = table
    expected = arrays(listed)
    told = model.predict(expected)
    by_hand = answer(listed)
    assert told["label"].tolist() == by_hand["label"] or any(abs(one[0] - 8) < 1e-3 for one in by_hand["score"])
    assert told["seen"].tolist() == by_hand["seen"]
    assert np.allclose(told["score"], by_hand["score"], rtol=1e-5, atol=1e-3)
    for form, inputs in _in_each_form(listed, manifest, names).items():
        for spec in INPUTS:
            one, other = inputs[spec.name], expected[spec.name]
            assert (one.dtype, one.shape) == (other.dtype, other.shape), form
            same = [
                a == b or str(a) == str(b) == "nan"
                for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
            ]
            assert all(same), (form, spec.name, one.tolist(), other.tolist())
        again = model.loaded.run(inputs)
        assert {name: again[name].tolist() for name in again} == {name: told[name].tolist() for name in told}, form


@given(st.lists(cities, min_size=1, max_size=6), st.booleans())
def test_strings_of_an_answer_come_back_from_v2(listed: list[str], binary: bool) -> None:
    outputs = {"seen": np.array(listed, object).reshape(-1, 1)}
    request = messages.InferRequest({}, {"seen": binary})
    data, length = messages.encode_response(request, outputs, name="visits", version="1.0.0")
    described = json.loads(data[:length])["outputs"][0]
    assert (described["datatype"], described["shape"]) == ("BYTES", [len(listed), 1])
    if not binary:
        assert described["data"] == listed
        return
    assert length is not None
    found, at, behind = [], 0, data[length:]
    assert described["parameters"] == {"binary_data_size": len(behind)}
    while at < len(behind):
        size = int.from_bytes(behind[at : at + 4], "little")
        found.append(behind[at + 4 : at + 4 + size].decode())
        at += 4 + size
    assert found == listed


def test_nan_is_what_is_missing() -> None:
    assert math.isnan(arrays([Row(None, 0, "", member=False)])["age"][0, 0])
