"""Estimators as sources, from fitted model to served answer: run by `tests/e2e/test_estimators.py` in an environment.

That environment has scikit-learn, XGBoost and LightGBM with their converters, and no TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import sklearn
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from skops import io as skops_io

from benchmarks.zoo import estimator_table
from benchmarks.zoo.estimator_table import DECLARED, models
from benchmarks.zoo.estimators import tables
from edgemm.bundle import open_bundle
from edgemm.errors import ConversionError, EdgemmError, InputError
from edgemm_converter import convert
from edgemm_converter.conversion import ConversionResult
from edgemm_converter.estimators import estimator, estimator_graph
from edgemm_converter.estimators.onnx_session import FileSession, checked
from simulators.serving import serving
from tests.docs.pages import DOCS, blocks

pytestmark = [pytest.mark.converter, pytest.mark.timeout(300)]
DATA = tables()
ROWS = DATA["rows"].astype(np.float64)
CHOSEN = (
    "sk/linear_two_targets", "sk/logistic_names", "sk/linear_svc_two", "sk/tree_missing", "sk/forest",
    "sk/forest_scaled", "sk/boosting", "sk/histograms", "sk/isolation_forest", "sk/gaussian_process", "sk/kmeans",
    "sk/mlp", "sk/svc", "sk/voting", "sk/grid_search", "sk/columns", "xgb/multi:softprob", "xgb/rank:ndcg",
    "xgb/survival:aft", "xgb/binary:hinge", "lgbm/multiclassova", "lgbm/cross_entropy_lambda", "lgbm/tweedie",
)  # fmt: skip

LEFT_OUT = {
    "sk/forest_scaled": "on the edge input 'a threshold of a tree",  # single precision before a threshold
    "sk/gaussian_process": "TFLite: Scan: no builtin operations for what it computes; ONNX alone",
}


def converted(path: Path, **options: Any) -> ConversionResult:
    options = {"allow_pickle": path.suffix == ".joblib", **options}
    return convert(path, output=path.with_suffix(".edgemm"), name="model", cache=False, **options)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(EdgemmError) as caught:
        converted(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert "object at 0x" not in line
    assert not path.with_suffix(".edgemm").exists()
    return line


def names_model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, DATA["names"])


def write_joblib(model: Any, path: Path) -> None:
    joblib.dump(model, path)


WRITERS: dict[str, Callable[[Any, Path], None]] = {"joblib": write_joblib, "skops": skops_io.dump}


def test_nothing_here_needs_tensorflow() -> None:
    assert importlib.util.find_spec("tensorflow") is None


@pytest.mark.parametrize("kind", WRITERS)
def test_a_served_bundle_answers_with_the_classes_names(kind: str, tmp_path: Path) -> None:
    model, path = names_model(), tmp_path / f"model.{kind}"
    WRITERS[kind](model, path)
    result = converted(path)
    assert result.manifest.labels == ("high", "low", "middle")
    assert [(s.name, s.shape) for s in result.manifest.signature.outputs] == [
        ("label", (-1,)), ("probabilities", (-1, 3)),
    ]  # fmt: skip
    assert result.manifest.lineage.libraries["scikit-learn"] == sklearn.__version__
    with serving(result.path, variant="onnx:float32") as server:
        body = json.dumps({"inputs": ROWS[:5].tolist()}).encode()
        asked = urllib.request.Request(f"{server.address}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            found = json.load(reply)
    assert [best["label"] for best in found["top"]] == model.predict(ROWS[:5]).tolist()
    places = [result.manifest.labels[place] for place in found["outputs"]["label"]]
    assert places == model.predict(ROWS[:5]).tolist()
    assert np.allclose(found["outputs"]["probabilities"], model.predict_proba(ROWS[:5]), atol=1e-6)


def test_the_command_of_the_page_converts_tables_of_csv(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(DOCS / "converter.md") if block.marker == "estimator"]
    skops_io.dump(names_model(), tmp_path / "churn.skops")
    np.savetxt(tmp_path / "rows.csv", ROWS, delimiter=",")
    cells = [",".join(map(str, row)) + f",{name}" for row, name in zip(ROWS, DATA["names"], strict=True)]
    (tmp_path / "labelled.csv").write_text("\n".join([",".join("abcdef") + ",labels", *cells]))
    command = [sys.executable, "-m", *shlex.split(block.text)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with open_bundle(next(tmp_path.glob("churn*.edgemm"))) as bundle:
        assert bundle.manifest.evaluation is not None


def test_no_file_answers_with_maps(tmp_path: Path) -> None:
    write_joblib(names_model(), tmp_path / "model.joblib")
    with open_bundle(converted(tmp_path / "model.joblib").path) as bundle:
        proto = onnx.load_model_from_string(bundle.read(bundle.manifest.variants[0].blob))
    assert "ZipMap" not in {node.op_type for node in proto.graph.node}
    assert all(value.type.HasField("tensor_type") for value in proto.graph.output)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("key", CHOSEN)
def test_a_model_of_the_zoo_answers_as_its_source(key: str, tmp_path: Path) -> None:
    model = models()[key]()
    source = estimator.of(model, path=key)
    found = estimator_table.by_edgemm(model, source, key, tmp_path)
    assert found["edgemm"] == ("pass", "")
    status, reason = found["tflite"]
    assert (status, LEFT_OUT.get(key, "") in reason) == ("left out" if key in LEFT_OUT else "pass", True), reason


def test_tflite_is_made_and_served_where_it_is_asked_for(tmp_path: Path) -> None:
    model = names_model()
    write_joblib(model, tmp_path / "model.joblib")
    result = converted(tmp_path / "model.joblib", targets=["tflite"])
    assert [variant.id for variant in result.manifest.variants] == ["tflite:float32"]
    assert result.manifest.labels == ("high", "low", "middle")
    with serving(result.path, variant="tflite:float32") as server:
        body = json.dumps({"inputs": ROWS[:5].tolist()}).encode()
        asked = urllib.request.Request(f"{server.address}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            found = json.load(reply)
    assert [best["label"] for best in found["top"]] == model.predict(ROWS[:5]).tolist()
    write_joblib(models()["sk/knn"](), tmp_path / "knn.joblib")
    said = refusal(tmp_path / "knn.joblib", targets=["tflite"])
    assert said == "TFLite: Scan, TopK: no builtin operations for what it computes; ONNX alone"


@pytest.mark.parametrize("key", ["sk/kernel_ridge", "sk/knn_regressor", "sk/power"])
def test_what_cannot_be_converted_is_refused_as_declared(key: str, tmp_path: Path) -> None:
    write_joblib(models()[key](), tmp_path / "model.joblib")
    assert DECLARED[key] in refusal(tmp_path / "model.joblib")


def test_a_repeat_gives_the_same_bundle(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_joblib(models()["sk/forest_scaled"](), tmp_path / name / "model.joblib")
    found = {converted(tmp_path / name / "model.joblib").digest for name in ("one", "two")}
    assert len(found) == 1


def test_ties_between_classes_are_counted(tmp_path: Path) -> None:
    rows = np.arange(40.0)[:, np.newaxis] % 4
    model = DecisionTreeClassifier(max_depth=2).fit(rows, np.arange(40) % 8 // 4)  # each leaf is half and half
    write_joblib(model, tmp_path / "model.joblib")
    np.savez(tmp_path / "real.npz", x=rows.astype(np.float32))
    warnings = converted(tmp_path / "model.joblib", calibration=tmp_path / "real.npz").warnings
    assert any("40 of 40 values on calibration data are ties, which rounding decides" in line for line in warnings)


def test_real_data_set_the_profile_and_are_judged(tmp_path: Path) -> None:
    write_joblib(models()["sk/boosting"](), tmp_path / "model.joblib")
    np.savez(tmp_path / "real.npz", x=DATA["rows"])
    np.savez(tmp_path / "labelled.npz", x=tables(seed=3)["rows"], labels=tables(seed=3)["three"])
    found = converted(
        tmp_path / "model.joblib", calibration=tmp_path / "real.npz", evaluation=tmp_path / "labelled.npz"
    ).manifest
    assert found.reference_profile is not None
    assert set(found.reference_profile.outputs) == {"label", "probabilities"}
    assert found.evaluation is not None
    assert found.evaluation.drops["onnx:float32"].value == 0
    assert "calibration" in {run.data for run in found.parity}


def test_wide_tables_and_deep_trees_are_converted(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).standard_normal((60, 10_000))
    write_joblib(LogisticRegression(max_iter=5).fit(wide, np.arange(60) % 3), tmp_path / "wide.joblib")
    assert converted(tmp_path / "wide.joblib").manifest.signature.inputs[0].shape == (-1, 10_000)
    steps = np.exp2(np.arange(64.0))[:, np.newaxis]
    deep = DecisionTreeRegressor().fit(steps, steps[:, 0] ** 1.5)
    assert deep.get_depth() >= 60
    write_joblib(deep, tmp_path / "deep.joblib")
    assert converted(tmp_path / "deep.joblib").manifest.signature.outputs[0].name == "value"


def test_bad_files_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_joblib(LogisticRegression(), tmp_path / "unfitted.joblib")
    assert "LogisticRegression was never fitted" in refusal(tmp_path / "unfitted.joblib")
    write_joblib({"a": 1}, tmp_path / "dict.joblib")
    assert "expected an estimator of scikit-learn, found an object of dict" in refusal(tmp_path / "dict.joblib")
    whole = pickle.dumps(names_model())
    (tmp_path / "cut.joblib").write_bytes(whole[: len(whole) // 2])
    assert "cut short or damaged" in refusal(tmp_path / "cut.joblib")
    installed = sklearn.__version__
    for module in (sklearn, sklearn.base):
        monkeypatch.setattr(module, "__version__", "99.1.0")
    for kind, write in WRITERS.items():
        write(names_model(), tmp_path / f"newer.{kind}")
    monkeypatch.undo()
    for kind in WRITERS:
        words = f"written by scikit-learn 99.1.0, and {installed} is installed"
        assert words in refusal(tmp_path / f"newer.{kind}")


def test_bad_files_of_boosters_are_refused_in_one_line(tmp_path: Path) -> None:
    models()["xgb/binary:logistic"]().save_model(tmp_path / "x.json")
    whole = json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "newer.json").write_text(json.dumps({**whole, "version": [99, 0, 0]}))
    assert "written by XGBoost 99.0.0" in refusal(tmp_path / "newer.json")
    models()["xgb/binary:logistic"]().save_model(tmp_path / "x.ubj")
    models()["lgbm/binary"]().save_model(tmp_path / "l.txt")
    for name, what in (("x.json", "an XGBoost"), ("x.ubj", "an XGBoost"), ("l.txt", "a LightGBM")):
        data = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(data[: len(data) // 2])
        assert f"expected {what} file, found one that is cut short or damaged" in refusal(cut)
    text = (tmp_path / "l.txt").read_text()
    (tmp_path / "newer.txt").write_text(text.replace("version=v4", "version=v9", 1))
    assert "a LightGBM file of version v9" in refusal(tmp_path / "newer.txt")


CUSTOM = """
from sklearn.base import BaseEstimator, TransformerMixin
class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, rows, _wanted=None):
        self.n_features_in_ = rows.shape[1]
        return self
    def transform(self, rows):
        return rows * 2
"""
REGISTERED = """
from skl2onnx import update_registered_converter
def shapes(operator):
    operator.outputs[0].type = operator.inputs[0].type
def written(scope, operator, container):
    given = operator.inputs[0].full_name
    container.add_node("Add", [given, given], operator.outputs[0].full_name)
update_registered_converter(Doubler, "Doubler", shapes, written)
"""


def test_custom_transformers_need_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_steps.py").write_text(CUSTOM)
    module = importlib.import_module("own_steps")
    model = make_pipeline(module.Doubler(), LogisticRegression()).fit(ROWS, DATA["two"])
    for kind, write in WRITERS.items():
        write(model, tmp_path / f"own.{kind}")
    monkeypatch.delitem(sys.modules, "own_steps")
    monkeypatch.setenv("PYTHONPATH", ":".join(p for p in sys.path if p and p != str(tmp_path)))
    assert "module 'own_steps', which is not there: name it with --custom-objects" in refusal(tmp_path / "own.joblib")
    assert "types that are not trusted: own_steps.Doubler" in refusal(tmp_path / "own.skops")
    named = ["own_steps:Doubler"]
    said = refusal(tmp_path / "own.skops", custom_objects=named)
    assert "Doubler of own_steps has no conversion to ONNX" in said
    assert "update_registered_converter" in said
    (tmp_path / "own_steps.py").write_text(CUSTOM + REGISTERED)
    for kind in WRITERS:
        assert converted(tmp_path / f"own.{kind}", custom_objects=named).manifest.labels == ("0", "1")


def test_a_number_for_a_missing_value_is_refused_in_every_place(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=2, missing=-999.0)
    others = VotingClassifier([("boosted", model), ("line", LogisticRegression())], voting="soft")
    for found in (model, make_pipeline(model), make_pipeline(StandardScaler(), model), others):
        write_joblib(found.fit(ROWS, DATA["two"]), tmp_path / "model.joblib")
        assert "XGBClassifier takes -999 for a missing value" in refusal(tmp_path / "model.joblib")


def test_xgboost_of_several_labels_has_a_probability_of_each(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3).fit(ROWS, np.stack([DATA["two"], ROWS[:, 1] > 0], axis=1))
    write_joblib(model, tmp_path / "model.joblib")
    found = converted(tmp_path / "model.joblib")
    assert [(s.name, s.shape) for s in found.manifest.signature.outputs] == [("value", (-1, 2))]
    assert found.manifest.labels is None
    values = estimator.of(model, path="model").run({"input": DATA["rows"]})["value"]
    assert np.allclose(values, model.predict_proba(DATA["rows"]), atol=1e-6)


def test_a_step_that_is_left_out_is_told_in_one_line(tmp_path: Path) -> None:
    rows = np.where(np.random.default_rng(0).random(ROWS.shape) < 0.1, np.nan, ROWS)
    model = make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()).fit(rows, DATA["two"])
    write_joblib(model, tmp_path / "model.joblib")
    said = refusal(tmp_path / "model.joblib")
    assert said.startswith("onnx:float32, output")
    assert "a library failed" not in said


def test_a_step_answers_by_its_kind_and_not_by_its_objective(tmp_path: Path) -> None:
    for objective in ("binary:logistic", "multi:softprob"):
        boosted = xgboost.XGBRegressor(n_estimators=2, objective=objective, num_class=3 if "multi" in objective else 0)
        model = make_pipeline(StandardScaler(), boosted).fit(ROWS, DATA["three" if "multi" in objective else "two"])
        write_joblib(model, tmp_path / "model.joblib")
        found = converted(tmp_path / "model.joblib").manifest.signature.outputs
        assert [spec.name for spec in found] == ["value"]
        (tmp_path / "model.edgemm").unlink()
    boosted = xgboost.XGBClassifier(n_estimators=2, objective="reg:squarederror")
    for model in (make_pipeline(StandardScaler(), boosted), VotingClassifier([("one", boosted)], voting="soft")):
        write_joblib(model.fit(ROWS, DATA["two"]), tmp_path / "model.joblib")
        assert "XGBClassifier: objective reg:squarederror" in refusal(tmp_path / "model.joblib")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels_for_a_row_are_refused() -> None:
    several = np.stack([DATA["two"], ROWS[:, 1] > 0], axis=1).astype(int)
    neural, line = MLPClassifier((4,), max_iter=5), OneVsRestClassifier(LogisticRegression())
    for model in (neural, line, make_pipeline(StandardScaler(), neural)):
        with pytest.raises(InputError, match="has 2 targets of classes: fit one model for each"):
            estimator.of(model.fit(ROWS, several), path="model.joblib")


@pytest.mark.parametrize("wanted", [DATA["three"] + 1.0, DATA["three"] * 2.0 - 5])
def test_classes_of_floats_have_their_places(wanted: Any, tmp_path: Path) -> None:
    for model in (
        Pipeline([("trees", RandomForestClassifier(3))]),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=3)),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ):
        write_joblib(model.fit(ROWS, wanted), tmp_path / "model.joblib")
        assert converted(tmp_path / "model.joblib").manifest.labels == tuple(map(str, np.unique(wanted)))
        (tmp_path / "model.edgemm").unlink()


@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_evaluation_data_have_the_values_of_the_classes(kind: str, tmp_path: Path) -> None:
    wanted = DATA["names"] if kind == "names" else DATA["three"] * 2 - 3
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, wanted)
    write_joblib(model, tmp_path / "model.joblib")
    some = wanted != np.unique(wanted)[-1]  # places and values must not be told from how many there are
    np.savez(tmp_path / "labelled.npz", x=DATA["rows"][some], labels=wanted[some])
    cells = [",".join(map(str, row)) + f",{one}" for row, one in zip(ROWS[some], wanted[some], strict=True)]
    (tmp_path / "labelled.csv").write_text("\n".join([",".join("abcdef") + ",labels", *cells]))
    for file in ("labelled.npz", "labelled.csv"):
        found = converted(tmp_path / "model.joblib", evaluation=tmp_path / file).manifest.evaluation
        assert found is not None
        assert found.source == pytest.approx(model.score(ROWS[some], wanted[some]))
        (tmp_path / "model.edgemm").unlink()


def test_a_graph_with_fewer_outputs_than_its_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimator_graph._without_maps
    monkeypatch.setattr(estimator_graph, "_without_maps", lambda graph: whole(graph)[:1])
    with pytest.raises(ConversionError, match="answers with label, probabilities, and what was converted with 1"):
        estimator_graph.model(estimator.of(names_model(), path="model"), double=False)


def test_what_sparse_steps_leave_out_is_missing_to_xgboost(tmp_path: Path) -> None:
    rows = np.stack([np.arange(300) % 4, np.arange(300) // 4 % 5], axis=1).astype(float)
    wanted = (rows[:, 0] > 1) ^ (rows[:, 1] > 2)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), xgboost.XGBClassifier(n_estimators=4))
    source = estimator.of(model.fit(rows, wanted), path="model")
    given = {"input": rows[:40].astype(np.float32)}
    for double in (False, True):
        session = FileSession(checked(estimator_graph.model(source, double=double)))
        found = session.run(given, ["probabilities"])["probabilities"]
        assert np.allclose(found, source.run(given)["probabilities"], atol=1e-6)


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_categories_of_numbers_are_encoded_as_the_source_does(unknown: str, tmp_path: Path) -> None:
    rows = np.stack([np.arange(300) % 4 + 3, np.arange(300) // 4 % 5 * 0.5, np.arange(300) * 1e-6], axis=1)
    codes = OneHotEncoder(handle_unknown=unknown, drop="first" if unknown == "error" else None)
    steps = make_column_transformer((codes, [0, 1]), (StandardScaler(), [2]))
    wanted = (rows[:, 0] > 4) ^ (rows[:, 1] > 1)
    write_joblib(make_pipeline(steps, LogisticRegression()).fit(rows, wanted), tmp_path / "model.joblib")
    np.savez(tmp_path / "real.npz", x=rows.astype(np.float32))
    found = converted(tmp_path / "model.joblib", calibration=tmp_path / "real.npz").manifest
    assert "calibration" in {run.data for run in found.parity}


def test_a_classifier_without_scores_has_labels_of_its_places(tmp_path: Path) -> None:
    model = VotingClassifier([(f"tree{depth}", DecisionTreeClassifier(max_depth=depth)) for depth in (2, 3, 4)])
    write_joblib(model.fit(ROWS, DATA["names"]), tmp_path / "model.joblib")
    found = converted(tmp_path / "model.joblib").manifest
    assert [spec.name for spec in found.signature.outputs] == ["label"]
    assert isinstance(found.labels_of, tuple)
    assert (found.labels, found.labels_of[0].kind) == (("high", "low", "middle"), "indices")
