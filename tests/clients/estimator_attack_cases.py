"""Estimators that others convert wrong or refuse, and evaluations beside scikit-learn's own: as `estimator_cases`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier, VotingRegressor
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from benchmarks.zoo import estimator_table, further_estimators
from benchmarks.zoo.estimators import tables
from edgemm.bundle import open_bundle
from edgemm_converter.estimators import estimator, plain_steps
from edgemm_converter.estimators.onnx_session import FileSession
from tests.clients.estimator_cases import converted, refusal, write_joblib

pytestmark = [pytest.mark.converter, pytest.mark.timeout(300)]
DATA = tables()
ROWS = DATA["rows"].astype(np.float64)
CLASSES: dict[str, Any] = {
    "votes of libsvm": make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)),
    "votes": VotingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier(max_depth=2)), ("c", SVC())]),
    "forest": RandomForestClassifier(5, max_depth=3, random_state=0),
    "decisions": make_pipeline(StandardScaler(), SVC()),
}
OF_CLASSES = {
    "accuracy": metrics.accuracy_score,
    "f1": lambda truth, found: metrics.f1_score(truth, found, average="macro"),
    "precision": lambda truth, found: metrics.precision_score(truth, found, average="macro", zero_division=0),
    "recall": lambda truth, found: metrics.recall_score(truth, found, average="macro"),
}
OF_NUMBERS = {
    "mse": metrics.mean_squared_error, "mae": metrics.mean_absolute_error, "r2": metrics.r2_score,
}  # fmt: skip


def answers(bundle: Path, rows: Any) -> dict[str, Any]:
    with open_bundle(bundle) as opened:
        file, signature = opened.read(opened.manifest.variants[0].blob), opened.manifest.signature
    return FileSession(file).run({"input": rows}, [spec.name for spec in signature.outputs])


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_the_evaluation_of_a_classifier_is_scikit_learns(name: str, tmp_path: Path) -> None:
    model = CLASSES[name].fit(ROWS, DATA["names"])
    write_joblib(model, tmp_path / "model.joblib")
    for seed, (metric, expected) in enumerate(OF_CLASSES.items(), start=3):
        fresh = tables(seed=seed)
        np.savez(tmp_path / "labelled.npz", x=fresh["rows"], labels=fresh["names"])
        found = converted(tmp_path / "model.joblib", evaluation=tmp_path / "labelled.npz", metric=metric)
        said = model.predict(fresh["rows"].astype(np.float64))
        assert found.manifest.evaluation is not None
        assert found.manifest.evaluation.source == pytest.approx(expected(fresh["names"], said), rel=1e-12), metric
        found.path.unlink()


@pytest.mark.parametrize("target", ["real", "both"])
def test_the_evaluation_of_a_regression_is_scikit_learns(target: str, tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, DATA[target])
    write_joblib(model, tmp_path / "model.joblib")
    for seed, (metric, expected) in enumerate(OF_NUMBERS.items(), start=3):
        fresh = tables(seed=seed)
        np.savez(tmp_path / "labelled.npz", x=fresh["rows"], labels=fresh[target])
        found = converted(tmp_path / "model.joblib", evaluation=tmp_path / "labelled.npz", metric=metric)
        said = model.predict(fresh["rows"].astype(np.float64))
        assert found.manifest.evaluation is not None
        assert found.manifest.evaluation.source == pytest.approx(expected(fresh[target], said), rel=1e-6), metric
        found.path.unlink()


def test_the_accuracy_of_a_regression_is_told_to_be_another_metrics(tmp_path: Path) -> None:
    write_joblib(LinearRegression().fit(ROWS, DATA["real"] * 100), tmp_path / "model.joblib")
    for wanted in (np.round(DATA["real"] * 100), DATA["real"]):
        np.savez(tmp_path / "labelled.npz", x=DATA["rows"], labels=wanted)
        said = refusal(tmp_path / "model.joblib", evaluation=tmp_path / "labelled.npz")
        assert "give --metric mse, mae or r2" in said


@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
@pytest.mark.parametrize("target", ["two", "names"])
def test_a_label_follows_the_decisions_that_probabilities_were_cut_from(loss: str, target: str, tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), SGDClassifier(loss=loss, random_state=0)).fit(ROWS, DATA[target])
    write_joblib(model, tmp_path / "model.joblib")
    result = converted(tmp_path / "model.joblib")
    rows = np.concatenate([tables(seed=9)["rows"], 20 * tables(seed=9)["rows"]])
    found, exact = answers(result.path, rows), rows.astype(np.float64)
    assert result.manifest.labels is not None
    said = [result.manifest.labels[place] for place in found["label"]]
    assert said == model.predict(exact).astype(str).tolist()
    assert np.allclose(found["probabilities"], model.predict_proba(exact), atol=1e-4)


def test_a_label_that_hangs_on_decisions_is_not_excused_as_a_tie(tmp_path: Path) -> None:
    parts = [("a", make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", random_state=0)))]
    write_joblib(VotingClassifier(parts).fit(ROWS, DATA["three"]), tmp_path / "votes.joblib")
    assert "output 'label'" in refusal(tmp_path / "votes.joblib")


def test_rows_that_float32_cannot_hold_are_told_of(tmp_path: Path) -> None:
    times = 1_700_000_000.0 + 3 * np.arange(240.0)
    rows = np.stack([times, ROWS[:, 0]], axis=1)
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(3)).fit(rows, np.arange(240) // 20 % 2)
    write_joblib(model, tmp_path / "model.joblib")
    np.savez(tmp_path / "rows.npz", x=rows)
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",", fmt="%.3f")
    for file in ("rows.npz", "rows.csv"):
        found = converted(tmp_path / "model.joblib", calibration=tmp_path / file)
        told = [line for line in found.warnings if "devices take float32" in line]
        assert len(told) == 1
        assert "column 0 has 1700000" in told[0]
        found.path.unlink()


def test_a_model_of_an_older_version_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = sklearn.__version__
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, DATA["names"])
    for module in (sklearn, sklearn.base):
        monkeypatch.setattr(module, "__version__", "1.2.2")
    write_joblib(model, tmp_path / "model.joblib")
    monkeypatch.undo()
    (said,) = converted(tmp_path / "model.joblib").warnings
    assert said.startswith(f"written by scikit-learn 1.2.2, and compared with what {installed} answers")


@pytest.mark.parametrize("key", ["sk/elimination", "sk/svc_probabilities", "sk/coded_one_hot", "sk/bins"])
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_a_further_model_of_the_zoo_answers_as_its_source(key: str, tmp_path: Path) -> None:
    model = further_estimators.models()[key]()
    source = estimator.of(plain_steps.simplified(copy.deepcopy(model)), path=key)
    assert estimator_table.by_edgemm(model, source, key, tmp_path)["edgemm"] == ("pass", "")


def _plain() -> dict[str, tuple[Any, str]]:
    line, trees = LogisticRegression(max_iter=2000), DecisionTreeClassifier(max_depth=3, random_state=0)
    pair = [("a", line), ("b", trees)]
    union = FeatureUnion([("a", StandardScaler()), ("b", "drop"), ("c", "passthrough"), ("d", PCA(2))])
    scaler = StandardScaler()
    return {
        "weights of votes": (VotingClassifier(pair, voting="soft", weights=[1, 5]), "names"),
        "weights of means": (VotingRegressor([("a", LinearRegression()), ("b", DecisionTreeRegressor(max_depth=3))],
                                             weights=[1, 5]), "real"),
        "no first step": (Pipeline([("no", "passthrough"), ("none", None), ("model", line)]), "names"),
        "no last step": (Pipeline([("scaler", scaler), ("no", "passthrough")]), "none"),
        "dropped part": (make_pipeline(union, line), "names"),
        "bins": (make_pipeline(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), line), "names"),
        "frozen": (CalibratedClassifierCV(FrozenEstimator(GaussianNB().fit(ROWS, DATA["names"]))), "names"),
        "discriminants": (make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), "two"),
        "elimination": (RFE(line, n_features_to_select=3), "names"),
        "search": (make_pipeline(scaler, GridSearchCV(line, {"C": [0.1, 1.0]}, cv=3)), "names"),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_classes_are_integers_of_any_width(dtype: Any, tmp_path: Path) -> None:
    for model in (KNeighborsClassifier(3), GaussianNB(), VotingClassifier([("a", GaussianNB())], voting="soft")):
        write_joblib(model.fit(ROWS, (DATA["three"] * 3 + 1).astype(dtype)), tmp_path / "model.joblib")
        result = converted(tmp_path / "model.joblib")
        assert result.manifest.labels == ("1", "4", "7")
        result.path.unlink()


@pytest.mark.parametrize("name", _plain())
def test_parts_that_do_nothing_change_nothing(name: str, tmp_path: Path) -> None:
    model, target = _plain()[name]
    model.fit(ROWS, DATA.get(target))
    write_joblib(model, tmp_path / "model.joblib")
    fresh = tables(seed=9)["rows"]
    result = converted(tmp_path / "model.joblib")
    found = answers(result.path, fresh)
    if "label" in found:
        assert result.manifest.labels is not None
        assert [result.manifest.labels[place] for place in found["label"]] == model.predict(fresh).astype(str).tolist()
        assert np.allclose(found["probabilities"], model.predict_proba(fresh), atol=1e-5)
    else:
        (values,) = found.values()
        expected = model.predict(fresh) if hasattr(model, "predict") else model.transform(fresh)
        assert np.allclose(values, np.reshape(expected, values.shape), atol=1e-4)
