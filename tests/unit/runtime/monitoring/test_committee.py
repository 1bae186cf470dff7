"""The committee on a device: what it sees, what it answers, what it counts; whatever the inputs hold."""

import numpy as np
import pytest

from edgemm.monitoring.monitor_document import CELLS, Modality, Scores, View
from edgemm_runtime.monitoring import input_features
from edgemm_runtime.monitoring.committee import Committee, compared, probabilities
from edgemm_runtime.monitoring.views import reduced, views
from tests.monitors import CLASSES, COLUMNS, float32, small_document

RANDOM = np.random.default_rng(9)


def test_rows_are_counted_by_confidence_and_agreement() -> None:
    model = np.array([[0.2, 0.8], [0.999, 0.001], [0.55, 0.45]], np.float32)
    right, left = np.array([[0.1, 0.9]] * 3, np.float32), np.array([[0.9, 0.1]] * 3, np.float32)
    found = compared(model, [right, right, left])
    assert found.heads.sum(axis=1).tolist() == [2, 1, 1]
    assert found.committee.tolist() == [True, False, False]
    assert found.cells.tolist() == [2 * 4 + 2, 4 * 4 + 1, 1 * 4 + 1]
    counts = found.counts(2)
    assert (counts.samples, counts.committee, counts.heads, counts.pairs) == (3, 1, (1, 1, 2), (3, 0, 0))
    assert counts.predicted == (2, 1)
    assert sum(counts.cells) == 3
    assert len(counts.cells) == CELLS


def test_scores_become_probabilities() -> None:
    logits = np.array([[1.0, 2.0, 0.5]], np.float32)
    found = probabilities(Scores.LOGITS, logits)
    assert found.sum() == pytest.approx(1.0)
    assert found.argmax() == 1
    assert probabilities(Scores.POSITIVE, np.array([[0.25]])).tolist() == [[0.75, 0.25]]
    assert np.isfinite(probabilities(Scores.PROBABILITIES, np.array([[np.nan, np.inf, -np.inf]]))).all()
    assert np.isfinite(probabilities(Scores.LOGITS, np.array([[np.nan, np.inf, -np.inf]]))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0])
@pytest.mark.parametrize("modality", list(Modality))
def test_no_input_stops_it(value: float, modality: Modality) -> None:
    shape = {Modality.IMAGE: (2, 10, 12, 3), Modality.SIGNAL: (2, 40, 2), Modality.TABLE: (2, 5)}[modality]
    width = {Modality.IMAGE: 0, Modality.SIGNAL: 2, Modality.TABLE: 5}[modality]
    view = View(
        inputs=("x",), modality=modality, rows=8, columns=8, centre=float32([0] * width), scale=float32([1] * width)
    )
    inputs = {"x": np.full(shape, value, np.float32)}
    inputs["x"][0].flat[0] = 1.0
    assert all(np.isfinite(one).all() for one in views(view, inputs))
    found = input_features.values(view, inputs)
    assert np.isfinite(found).all()
    assert found.shape == (2, len(input_features.names(view, inputs)))


def test_one_row_and_many_see_the_same() -> None:
    for shape in ((9, 28, 28, 1), (9, 17, 23, 3)):
        view = View(inputs=("x",), modality=Modality.IMAGE, rows=12, columns=12)
        images = RANDOM.random(shape).astype(np.float32)
        many = views(view, {"x": images})
        for place in range(9):
            one = views(view, {"x": images[place : place + 1]})
            for a, b in zip(one, many, strict=True):
                assert a[0] == pytest.approx(b[place], abs=1e-5)


def test_a_reduced_image_has_the_mean_of_each_area() -> None:
    image = RANDOM.random((1, 8, 12, 2)).astype(np.float32)
    wanted = image.reshape(1, 4, 2, 4, 3, 2).mean(axis=(2, 4))
    assert reduced(image, 4, 4) == pytest.approx(wanted, abs=1e-6)
    assert reduced(np.ones((1, 7, 5, 1), np.float32), 3, 2) == pytest.approx(1.0)


def test_sizes_that_clients_choose_take_no_memory() -> None:
    image = View(inputs=("x",), modality=Modality.IMAGE, rows=12, columns=12)
    long = np.zeros((1, 2**20, 1, 1), np.float32)
    with pytest.raises(ValueError, match="too many to be reduced"):
        views(image, {"x": long})
    signal = View(inputs=("x",), modality=Modality.SIGNAL, rows=8, centre=float32([0] * 500), scale=float32([1] * 500))
    with pytest.raises(ValueError, match="1 numbers, expected 500"):
        views(signal, {"x": np.zeros((1, 4000), np.float32)})


def test_a_committee_of_a_document_answers_every_row() -> None:
    document = small_document()
    rows = RANDOM.normal(size=(50, COLUMNS)).astype(np.float32)
    answers = RANDOM.dirichlet(np.ones(CLASSES), 50).astype(np.float32)
    found = Committee(document).answered({"x": rows}, answers)
    assert found.predicted.tolist() == answers.argmax(axis=1).tolist()
    assert found.counts(CLASSES).samples == 50
