"""A monitor that is fitted: near the truth on families that it had not seen, repeatable, honest where it fails."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, unused-ignore]

from edgemm.monitoring import EstimateState, MonitorDocument, estimate, monitor_document
from edgemm.monitoring.monitor_document import MAX_BYTES, Modality, Scores, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring import fitting
from edgemm_converter.monitoring.corruptions import corrupted, families
from edgemm_converter.monitoring.fitting import MonitorSubject
from edgemm_converter.monitoring.head_training import Effort
from edgemm_converter.monitoring.monitor_plan import QUICK
from edgemm_runtime.monitoring.committee import Committee
from tests.monitors import float32

SMALL = replace(QUICK, severities=3, pairs=12, family_folds=4, effort=Effort(hidden=24, epochs=4, rows=9_000))
TINY = replace(SMALL, severities=2, pairs=4, effort=Effort(hidden=12, epochs=2, rows=4_000))
VIEW = View(inputs=("image",), modality=Modality.IMAGE, rows=8, columns=8)


@cache
def digits() -> tuple[Array, Array, Array, Array, LogisticRegression]:
    """Return images and classes for the converter, others of the field, and a model that saw neither."""
    images, classes = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    order = np.random.default_rng(4).permutation(len(classes))
    known, labelled, field = np.split(order, [600, 1000])
    model = LogisticRegression(max_iter=300).fit(images[known], classes[known])
    shaped = images.reshape(-1, 8, 8, 1)
    return shaped[labelled], classes[labelled], shaped[field], classes[field], model


def run(inputs: Mapping[str, Array]) -> Array:
    found: Array = digits()[4].predict_proba(inputs["image"].reshape(len(inputs["image"]), -1)).astype(np.float32)
    return found


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums have one order, and threads for tiny matrices only wait for one another."""
    with threadpool_limits(1):
        yield


@cache
def fitted() -> MonitorDocument:
    images, classes, *_ = digits()
    given = MonitorSubject(VIEW, {"image": images}, classes, 10, "p", Scores.PROBABILITIES, run)
    return fitting.fit(given, SMALL, rows_of_pool=len(classes), progress=lambda _stage: None)


def test_estimates_are_near_the_truth_on_images_of_the_field() -> None:
    document = fitted()
    assert document.supported, document.reason
    assert len(monitor_document.encode(document)) <= MAX_BYTES
    assert len(document.trial.families) == len(families(Modality.IMAGE))
    _, _, images, classes, _ = digits()
    committee, random, off, inside = Committee(document), np.random.default_rng(6), list[float](), list[bool]()
    for family in families(Modality.IMAGE):
        given = corrupted(VIEW, {"image": images}, [(family, 2.5)], random)
        answered = committee.answered(given, run(given))
        found = estimate(document, answered.counts(10))
        if found.accuracy is not None and found.low is not None and found.high is not None:
            truth = float((answered.predicted == classes).mean())
            off.append(abs(found.accuracy - truth))
            inside.append(found.low <= truth <= found.high)
    assert len(off) >= 18
    assert np.mean(off) <= 0.05
    assert np.mean(inside) >= 0.85


def test_a_committee_that_cannot_follow_the_model_shows_no_accuracy_and_the_same_bytes_each_time() -> None:
    random = np.random.default_rng(8)
    rows = random.normal(size=(500, 8)).astype(np.float32)

    def parity(inputs: Mapping[str, Array]) -> Array:
        """Know what no small network learns of so few rows: the parity of the signs of eight numbers."""
        odd = (inputs["x"] > 0).sum(axis=1) % 2
        return np.stack([1 - odd, odd], axis=1).astype(np.float32) * 0.98 + 0.01

    view = View(inputs=("x",), modality=Modality.TABLE, centre=float32([0] * 8), scale=float32([1] * 8))
    classes = parity({"x": rows}).argmax(axis=1)
    given = MonitorSubject(view, {"x": rows}, classes, 2, "p", Scores.PROBABILITIES, parity)
    document, again, other = (
        fitting.fit(given, TINY, rows_of_pool=500, progress=lambda _stage: None, seed=seed) for seed in (0, 0, 1)
    )
    assert monitor_document.encode(document) == monitor_document.encode(again)
    assert monitor_document.encode(document) != monitor_document.encode(other)
    assert not document.supported
    assert "expected at most" in document.reason
    counts = Committee(document).answered({"x": rows}, parity({"x": rows})).counts(2)
    assert estimate(document, counts).state is EstimateState.UNSUPPORTED


def test_an_input_mean_outside_of_all_windows_is_seen_in_the_profile() -> None:
    document = fitted()
    assert {one.name for one in document.profile} >= {"mean", "contrast", "sharpness", "entropy", "edge-energy"}
    for one in document.profile:
        assert one.low <= one.high
        edges = np.frombuffer(one.edges, "<f4")
        assert (np.diff(edges) > 0).all()
        assert len(one.counts) == len(edges) + 2
        assert sum(one.counts) == len(digits()[0])
        assert one.counts[0] == one.counts[-2] == one.counts[-1] == 0


@pytest.mark.parametrize("rows", [100, 400, 950])
def test_a_pool_has_each_row_as_often_as_any_other(rows: int) -> None:
    found = np.bincount(fitting._rows(400, rows, np.random.default_rng(1)), minlength=400)
    assert found.sum() == rows
    assert found.max() - found.min() <= 1
