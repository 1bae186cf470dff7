"""Data of named columns beside what estimators were fitted on: their order, their precision, and their monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.cluster import KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

from edgemm.bundle import open_bundle
from edgemm.monitoring import monitor_document
from edgemm.monitoring.monitor_document import Scores
from edgemm_converter.estimators import estimator, plain_steps
from tests.clients.estimator_cases import converted, refusal, write_joblib

pytestmark = [pytest.mark.converter, pytest.mark.timeout(300)]
NUMBERS = np.random.default_rng(0).normal(size=(240, 3))
FRAME = pd.DataFrame(NUMBERS, columns=["of a", "b", "c"])
TWO = (2 * NUMBERS[:, 0] - 0.2 * NUMBERS[:, 1] > 0).astype(int)
THREE = (NUMBERS[:, 0] > 0).astype(int) + (NUMBERS[:, 0] > 1)
NAMED: dict[str, Any] = {
    "lightgbm": LGBMClassifier(n_estimators=3, verbose=-1),
    "xgboost": XGBClassifier(n_estimators=3),
    "discriminants": LinearDiscriminantAnalysis(),
    "pipeline": make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
}


def labelled(frame: pd.DataFrame, labels: Any, path: Path) -> Path:
    frame.assign(labels=labels).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", NAMED)
def test_columns_are_read_by_the_names_that_a_model_was_fitted_on(name: str, tmp_path: Path) -> None:
    model = NAMED[name].fit(FRAME, TWO)
    write_joblib(model, tmp_path / "model.joblib")
    data = labelled(FRAME[["c", "b", "of a"]], TWO, tmp_path / "rows.csv")
    found = converted(tmp_path / "model.joblib", evaluation=data, monitor="off")
    assert found.manifest.evaluation is not None
    assert found.manifest.evaluation.source == pytest.approx(model.score(FRAME, TWO), abs=0.01)
    other = labelled(FRAME.rename(columns={"b": "d"}), TWO, tmp_path / "other.csv")
    found.path.unlink()
    assert "'b': name them" in refusal(tmp_path / "model.joblib", evaluation=other)


@pytest.mark.parametrize("by_column", [False, True])
def test_columns_that_float32_cannot_hold_are_told_of(tmp_path: Path, *, by_column: bool) -> None:
    frame = FRAME[["b"]].assign(time=1_700_000_000.0 + 3 * np.arange(240.0))
    scaler = make_column_transformer((StandardScaler(), ["b", "time"])) if by_column else StandardScaler()
    classes = np.arange(240) // 20 % 2
    write_joblib(make_pipeline(scaler, KNeighborsClassifier(3)).fit(frame, classes), tmp_path / "model.joblib")
    data = labelled(frame, classes, tmp_path / "rows.csv")
    found = converted(tmp_path / "model.joblib", evaluation=data, monitor="off")
    (said,) = [line for line in found.warnings if "devices take float32" in line]
    assert "there: column 'time' has 1700000" in said


def test_the_scores_beside_a_label_are_monitored(tmp_path: Path) -> None:
    write_joblib(LogisticRegression().fit(FRAME, THREE), tmp_path / "model.joblib")
    data = labelled(FRAME, THREE, tmp_path / "rows.csv")
    found = converted(tmp_path / "model.joblib", evaluation=data, monitor="quick")
    with open_bundle(found.path) as bundle:
        document = monitor_document.decode(bundle.read(bundle.manifest.documents[monitor_document.NAME]))
    assert (document.output, document.scores, document.classes) == ("probabilities", Scores.PROBABILITIES, 3)


def test_a_column_that_is_called_as_a_table_is_none(tmp_path: Path) -> None:
    frame = FRAME[["b"]].rename(columns={"b": "input"})
    model = make_pipeline(make_column_transformer((StandardScaler(), ["input"])), LogisticRegression())
    write_joblib(model.fit(frame, TWO), tmp_path / "model.joblib")
    assert "a model of named columns becomes an ONNX file alone" in refusal(
        tmp_path / "model.joblib", targets=["tflite"]
    )


@pytest.mark.parametrize("function", [np.log, np.reciprocal])
def test_numbers_that_a_function_does_not_take_are_no_unknown_categories(function: Any, tmp_path: Path) -> None:
    frame = FRAME[["b"]].abs().assign(kind=THREE)
    steps = make_column_transformer((FunctionTransformer(function), ["b"]), (OneHotEncoder(), ["kind"]))
    write_joblib(make_pipeline(steps, LogisticRegression()).fit(frame, TWO), tmp_path / "model.joblib")
    assert [variant.id for variant in converted(tmp_path / "model.joblib").manifest.variants] == ["onnx:float32"]


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("unknown", ["error", "ignore"])
def test_none_and_nan_are_each_the_category_that_they_were(missing: Any, unknown: str, tmp_path: Path) -> None:
    city = np.array(["Graz", "Wien", missing], object)[np.arange(240) % 3]
    frame = FRAME[["b"]].assign(city=pd.Series(city, dtype=object))
    steps = make_column_transformer((OneHotEncoder(handle_unknown=unknown), ["city"]), remainder="passthrough")
    classes = (np.arange(240) % 3 == 2).astype(int)
    write_joblib(make_pipeline(steps, LogisticRegression()).fit(frame, classes), tmp_path / "model.joblib")
    data = labelled(frame, classes, tmp_path / "rows.csv")
    found = converted(tmp_path / "model.joblib", evaluation=data, monitor="off").manifest
    assert found.evaluation is not None
    assert found.evaluation.source == 1.0


@pytest.mark.parametrize("chosen", [make_column_selector(dtype_include=float), slice("of a", "b")])
def test_columns_of_numbers_that_a_selector_chose_are_named(chosen: Any, tmp_path: Path) -> None:
    model = make_pipeline(make_column_transformer((StandardScaler(), chosen)), LogisticRegression()).fit(FRAME, TWO)
    write_joblib(model, tmp_path / "model.joblib")
    names = [spec.name for spec in converted(tmp_path / "model.joblib").manifest.signature.inputs]
    assert names == list(FRAME)[: len(names)]


def test_a_last_step_of_nothing_keeps_what_a_pipeline_answers_with() -> None:
    model = make_pipeline(KMeans(3, n_init=1, random_state=0), "passthrough").fit(NUMBERS)
    wanted = model.transform(NUMBERS)
    plain = plain_steps.simplified(model)
    found = estimator.of(plain, path="model").run({"input": NUMBERS})
    assert list(found) == ["transformed"]
    assert np.allclose(found["transformed"], wanted)
