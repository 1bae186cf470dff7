"""Estimators of named columns, from fitted pipeline to served answer: run by `tests/e2e/test_estimators.py`.

Pipelines are fitted on DataFrames of numbers, texts, integers, truth values and missing values, and asked for the same
rows themselves: a served bundle answers as they do, in every form that `/predict` takes.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from benchmarks.zoo import estimator_table
from benchmarks.zoo.estimator_columns import models, table
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType
from edgemm.errors import EdgemmError
from edgemm_converter import convert
from edgemm_converter.conversion import ConversionResult
from edgemm_converter.estimators import estimator, sample_rows
from simulators.serving import serving

pytestmark = [pytest.mark.converter, pytest.mark.timeout(300)]
CHOSEN = (
    "tab/infrequent", "tab/ordinal", "tab/target", "tab/clusters", "tab/transformer", "tab/most_frequent",
    "tab/histograms", "tab/text_and_columns", "tab/forest", "tab/xgboost", "tab/lightgbm", "tab/isolation",
)  # fmt: skip
ROWS = [
    {"age": 31.0, "income": 30000.0, "city": "Graz"}, {"age": 60.0, "income": 1234.5, "city": "Zürich"},
    {"age": 18.0, "income": 99999.0, "city": "Bad Ischl"},
]  # fmt: skip


def converted(model: Any, path: Path, **options: Any) -> ConversionResult:
    joblib.dump(model, path)
    options = {"allow_pickle": True, "name": "model", "cache": False, **options}
    return convert(path, output=path.with_suffix(".edgemm"), **options)


def refusal(model: Any, path: Path, **options: Any) -> str:
    with pytest.raises(EdgemmError) as caught:
        converted(model, path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert not path.with_suffix(".edgemm").exists()
    return line


class Served:
    """A bundle that is served, and what it answers."""

    def __init__(self, address: str) -> None:
        self._address = address

    def answer(self, body: Any, kind: str = "application/json") -> dict[str, Any]:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self._address}/predict", data, {"Content-Type": kind})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def refusal(self, body: Any, kind: str = "application/json") -> str:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.answer(body, kind)
        assert caught.value.code == 400
        return str(json.load(caught.value)["error"])


def csv_of(frame: pd.DataFrame) -> str:
    return str(frame.to_csv(index=False))


def test_columns_records_and_csv_are_answered_as_the_pipeline_does(tmp_path: Path) -> None:
    model = models()["tab/ignore"]()
    result = converted(model, tmp_path / "model.joblib")
    inputs = result.manifest.signature.inputs
    assert [(s.name, s.dtype) for s in inputs] == [
        ("age", DType.FLOAT32), ("income", DType.FLOAT32), ("city", DType.STRING),
    ]  # fmt: skip
    assert result.manifest.minimum_runtime == "0.3.0"
    frame = pd.DataFrame([*ROWS, {**ROWS[0], "city": "Paris"}, {**ROWS[0], "city": ""}, {**ROWS[0], "city": "nan"}])
    with serving(result.path, variant="onnx:float32") as server:
        served = Served(server.address)
        for body, kind in (
            ({"inputs": frame.to_dict("list")}, "application/json"),
            (frame.to_dict("records"), "application/json"),
            (csv_of(frame.iloc[:4]), "text/csv"),
        ):
            found = served.answer(body, kind)
            asked = frame.iloc[: len(found["outputs"]["label"])]
            assert np.allclose(found["outputs"]["probabilities"], model.predict_proba(asked), atol=1e-6)
            assert [best["label"] for best in found["top"]] == model.predict(asked).tolist()


def test_null_and_empty_cells_are_missing_where_the_source_takes_them(tmp_path: Path) -> None:
    model = models()["tab/most_frequent"]()
    result = converted(model, tmp_path / "model.joblib")
    assert [spec.missing for spec in result.manifest.signature.inputs] == [True, True, True]
    gaps = [{**ROWS[0], "age": None}, {**ROWS[0], "city": None}, dict.fromkeys(ROWS[0])]
    rows: list[dict[str, Any]] = [*gaps, ROWS[1]]
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in rows[0]}).fillna(np.nan)
    wanted = model.predict_proba(frame)
    with serving(result.path, variant="onnx:float32") as server:
        served = Served(server.address)
        for body, kind in ((rows, "application/json"), (csv_of(frame), "text/csv")):
            found = served.answer(body, kind)["outputs"]["probabilities"]
            assert np.allclose(found, wanted, atol=1e-6)
        empty = pd.DataFrame([{**ROWS[0], "city": ""}])  # a text, and none that is missing
        found = served.answer(empty.to_dict("records"))["outputs"]["probabilities"]
        assert np.allclose(found, model.predict_proba(empty), atol=1e-6)


def test_null_is_refused_where_the_source_takes_no_missing_values(tmp_path: Path) -> None:
    steps = ColumnTransformer([("c", OneHotEncoder(), ["city"]), ("n", StandardScaler(), ["age"])])
    model = make_pipeline(steps, LogisticRegression()).fit(table()[["age", "city"]], table()["two"])
    with serving(converted(model, tmp_path / "model.joblib").path, variant="onnx:float32") as server:
        served = Served(server.address)
        assert "takes no missing values" in served.refusal([{"age": None, "city": "Graz"}])
        assert "found an empty cell" in served.refusal("age,city\n,Graz\n", "text/csv")


def test_an_unknown_category_that_is_an_error_is_one_line_that_names_the_column(tmp_path: Path) -> None:
    result = converted(models()["tab/error"](), tmp_path / "model.joblib")
    with serving(result.path, variant="onnx:float32") as server:
        said = Served(server.address).refusal([{**ROWS[0], "city": "Paris"}])
        assert said.startswith("input 'city': expected texts that the model was trained on")
        assert "found 'Paris'" in said
        assert Served(server.address).answer([ROWS[0]])["outputs"]["label"] in ([0], [1])


def test_texts_alone_are_an_input_of_strings(tmp_path: Path) -> None:
    model = models()["tab/text"]()
    result = converted(model, tmp_path / "model.joblib")
    assert [(s.name, s.dtype, s.shape) for s in result.manifest.signature.inputs] == [("text", DType.STRING, (-1,))]
    texts = ["Good PRODUCT", "", "ärger Über alles 日本", "x" * 60_000, "late,service!"]
    with serving(result.path, variant="onnx:float32") as server:
        found = Served(server.address).answer({"inputs": {"text": texts}})["outputs"]["probabilities"]
    assert np.allclose(found, model.predict_proba(texts), atol=1e-6)


@pytest.mark.parametrize("key", CHOSEN)
def test_a_pipeline_of_the_zoo_answers_as_its_source(key: str, tmp_path: Path) -> None:
    model = models()[key]()
    assert estimator_table.by_edgemm(model, estimator.of(model, path=key), key, tmp_path)["edgemm"] == ("pass", "")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_data_of_texts_and_gaps_set_the_profile_and_are_measured(suffix: str, tmp_path: Path) -> None:
    model, columns = models()["tab/most_frequent"](), ["age", "income", "city"]
    files = {}
    for name, seed in (("calibration", 1), ("evaluation", 2)):
        frame = table(seed, gaps=True)
        frame = frame[columns] if name == "calibration" else frame[[*columns, "two"]].rename(columns={"two": "labels"})
        files[name] = tmp_path / f"{name}{suffix}"
        if suffix == ".csv":
            files[name].write_text(csv_of(frame))
        else:
            files[name].write_text(frame.to_json(orient="records", lines=suffix == ".jsonl"))
    found = converted(model, tmp_path / "model.joblib", **files).manifest
    assert found.reference_profile is not None
    assert set(found.reference_profile.inputs) == {"age", "income"}
    assert found.evaluation is not None
    frame = table(2, gaps=True)
    assert found.evaluation.source == pytest.approx(float((model.predict(frame[columns]) == frame["two"]).mean()))


def test_missing_values_are_data_of_one_table_of_numbers_too(tmp_path: Path) -> None:
    rows = np.where(np.random.default_rng(0).random((80, 3)) < 0.2, np.nan, np.random.default_rng(1).random((80, 3)))
    model = HistGradientBoostingClassifier(max_iter=5).fit(rows, np.arange(80) % 2)
    np.savez(tmp_path / "real.npz", x=rows.astype(np.float32))
    result = converted(model, tmp_path / "model.joblib", calibration=tmp_path / "real.npz")
    assert result.manifest.signature.inputs[0].missing is True
    with serving(result.path, variant="onnx:float32") as server:
        found = Served(server.address).answer({"inputs": [[None, 0.5, None], [0.1, 0.2, 0.3]]})
    wanted = model.predict_proba([[np.nan, 0.5, np.nan], [0.1, 0.2, 0.3]])
    assert np.allclose(found["outputs"]["probabilities"], wanted, atol=1e-6)


def test_rows_at_thresholds_behind_a_scaler_go_the_way_that_they_went(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 40, (200, 3)).astype(np.float64)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(rows, np.arange(200) % 3)
    source = estimator.of(model, path="model")
    edge = next(one for one in sample_rows.input_sets(source, calibration=None, evaluation=None) if one.names)
    ties = [run for run, family in enumerate(edge.families) if family == "ties at thresholds"]
    assert len(ties) >= 20
    inputs = {"input": np.concatenate([edge.arrays["input"][run] for run in ties])}
    result = converted(model, tmp_path / "model.joblib")
    with open_bundle(result.path) as bundle:
        file = bundle.read(bundle.manifest.variants[0].blob)
    found = estimator_table._run(file, inputs)
    assert np.allclose(found["probabilities"], source.run(inputs)["probabilities"], rtol=0, atol=1e-6)
    moved = source.run({"input": np.nextafter(inputs["input"], np.float32(np.inf))})["probabilities"]
    assert np.abs(found["probabilities"] - moved).max() > 0.01  # they do lie at thresholds


def test_a_users_dtype_holds_where_no_step_tells(tmp_path: Path) -> None:
    frame = table()[["vip", "age"]].astype({"vip": bool})
    model = LinearRegression().fit(frame, table()["real"])
    result = converted(model, tmp_path / "model.joblib", columns={"vip": "bool"})
    assert [(s.name, s.dtype) for s in result.manifest.signature.inputs] == [
        ("vip", DType.BOOL), ("age", DType.FLOAT32),
    ]  # fmt: skip
    with serving(result.path, variant="onnx:float32") as server:
        found = Served(server.address).answer([{"vip": True, "age": 30}])["outputs"]["value"]
    assert np.allclose(np.ravel(found), model.predict(pd.DataFrame([{"vip": True, "age": 30}])), atol=1e-5)


def test_what_no_graph_can_do_is_told_in_one_line(tmp_path: Path) -> None:
    frame, two = table()[["age", "city", "note"]], table()["two"]

    def said(*steps: Any, columns: Any = None) -> str:
        model = make_pipeline(*steps, LogisticRegression()).fit(frame if columns is None else frame[columns], two)
        return refusal(model, tmp_path / "model.joblib")

    hot = OneHotEncoder(handle_unknown="ignore")
    own = make_column_transformer((FunctionTransformer(np.cbrt), ["age"]), (hot, ["city"]))
    assert "FunctionTransformer of cbrt: edgemm converts NumPy's" in said(own)
    assert "analyzer='char'" in said(TfidfVectorizer(analyzer="char"), columns="note")
    wide = pd.DataFrame({f"c{i}": ["a", "b"] * 20 for i in range(300)})
    many = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(wide, [0, 1] * 20)
    assert "300 named columns, expected at most 256" in refusal(many, tmp_path / "many.joblib")


def test_a_declared_column_must_be_one(tmp_path: Path) -> None:
    model = models()["tab/ignore"]()
    said = refusal(model, tmp_path / "model.joblib", columns={"town": "string"})
    assert "--column town=string: expected one of the columns age, income, city" in said
    steps = ColumnTransformer([("city", OneHotEncoder(), ["city"])])
    other = make_pipeline(steps, LogisticRegression()).fit(table()[["age", "city"]], table()["two"])
    said = refusal(other, tmp_path / "other.joblib", columns={"age": "float32"})
    assert "--column age=float32: no step takes this column, leave it out" in said
    said = refusal(model, tmp_path / "model.joblib", columns={"city": "text"})
    assert "--column city=text: expected one of float32, bool, int64, float64, string" in said


def test_an_imputer_of_numbers_fills_in_as_it_did(tmp_path: Path) -> None:
    frame = table(gaps=True)
    steps = make_column_transformer((SimpleImputer(add_indicator=True), ["age", "income"]), (OneHotEncoder(), ["plan"]))
    model = make_pipeline(steps, LinearRegression()).fit(frame[["age", "income", "plan"]], frame["real"])
    result = converted(model, tmp_path / "model.joblib")
    assert [spec.dtype for spec in result.manifest.signature.inputs] == [DType.FLOAT32, DType.FLOAT32, DType.INT64]
