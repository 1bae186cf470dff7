import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgemm.errors import InputError
from edgemm_converter.judging import evaluation
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric

OUTPUT = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]][:, np.newaxis]
INPUTS = {"x": np.zeros((4, 1, 5), np.float32)}


def ask(
    metric: Metric, labels: np.ndarray | None, output: str | None = None, **more: np.ndarray
) -> evaluation.MetricQuestion:
    return evaluation.question(
        metric, labels, inputs=INPUTS, outputs={"y": OUTPUT, **more}, output=output, path="e.npz"
    )


def test_accuracy_counts_right_classes() -> None:
    assert ask(Metric.ACCURACY, np.array([0, 1, 2, 0])).score({"y": OUTPUT}) == 0.75


def test_one_hot_labels_are_read() -> None:
    assert ask(Metric.ACCURACY, np.eye(3)[[0, 1, 2, 2]]).score({"y": OUTPUT}) == 1.0


def test_a_drop_comes_with_its_interval() -> None:
    worse = OUTPUT[[1, 1, 0, 2]]
    found = ask(Metric.ACCURACY, np.array([0, 1, 2, 2])).drop({"y": OUTPUT}, {"y": worse})
    assert found.value == 0.5
    assert found.low < 0.5 < found.high


def test_an_autoencoder_is_scored_against_its_own_input() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 6)).astype(np.float32)
    noise = rng.normal(size=x.shape).astype(np.float32) * np.linspace(0.1, 1, 40)[:, None, None]
    outputs, inputs = {"again": (x + noise).astype(np.float32)}, {"x": x}
    mse = evaluation.question(Metric.MSE, None, inputs=inputs, outputs=outputs, output=None, path="e")
    assert mse.score(outputs) == pytest.approx(float((noise**2).mean()), rel=1e-4)
    odd = np.arange(40) % 3 == 0
    auc = evaluation.question(Metric.AUC, odd.astype(int), inputs=inputs, outputs=outputs, output=None, path="e")
    expected = roc_auc_score(odd, ((outputs["again"] - x) ** 2).mean(axis=(1, 2)))
    assert auc.score(outputs) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [np.array(["a", "b"]), np.array([0.5, 1.0]), np.zeros((2, 3, 4)), np.array(1)])
def test_labels_of_another_kind_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected 'labels' to be integers"):
        ask(Metric.ACCURACY, labels)


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"e\.npz: accuracy needs 'labels'"):
        ask(Metric.ACCURACY, None)
    with pytest.raises(InputError, match="mse needs exactly one output of the shape of the labels, found 0"):
        ask(Metric.MSE, None)


@pytest.mark.parametrize("labels", [[0, 1, 3, 0], [-1, 0, 1, 2], [0, 1]])
def test_labels_that_do_not_fit_the_output_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match=r"e\.npz: expected"):
        ask(Metric.ACCURACY, np.array(labels)).score({"y": OUTPUT})


def test_two_outputs_need_a_name() -> None:
    labels = np.array([0, 1, 2, 2])
    with pytest.raises(InputError, match="exactly one output of shape .*, found 2: y, z; name one with --eval-output"):
        ask(Metric.ACCURACY, labels, z=OUTPUT)
    assert ask(Metric.ACCURACY, labels, "z", z=OUTPUT).output == "z"


OWN = np.array([0, 1, 2, 0])[:, np.newaxis]
"""A model's own classes, which are not those of its largest scores."""


def test_classes_that_a_model_answers_itself_are_those_that_count() -> None:
    labels = np.array([0, 1, 2, 0])
    outputs = {"y": OUTPUT, "label": OWN}
    for metric in (Metric.ACCURACY, Metric.F1, Metric.PRECISION, Metric.RECALL):
        found = ask(metric, labels, label=OWN)
        assert (found.output, found.score(outputs)) == ("label", 1.0)
        assert found.drop(outputs, {"label": OWN[[0, 1, 0, 0]]}).value > 0
    assert ask(Metric.ACCURACY, labels, "y", label=OWN).score(outputs) == 0.75
    assert ask(Metric.AUC, labels, label=OWN).output == "y"


def test_class_indices_alone_are_scored_as_classes() -> None:
    for named in (None, "label"):
        asked = evaluation.question(
            Metric.ACCURACY, np.array([0, 1, 2, 2]), inputs=INPUTS, outputs={"label": OWN}, output=named, path="e.npz"
        )
        assert asked.score({"label": OWN}) == 0.75


def test_whole_numbers_that_are_no_classes_leave_the_scores() -> None:
    assert ask(Metric.ACCURACY, np.array([0, 1, 2, 2]), count=OWN + 5).output == "y"
    assert ask(Metric.ACCURACY, np.array([0, 1, 2, 2]), outlier=OWN - 1).output == "y"


def test_wanted_numbers_without_their_metric_are_told_of_it() -> None:
    outputs = {"y": OUTPUT[..., :1]}
    for labels in (np.array([47, 321, 90, 8]), np.array([0.5, 2.0, 3.0, 4.0])):
        with pytest.raises(InputError, match="give --metric mse, mae or r2"):
            evaluation.question(
                Metric.ACCURACY, labels, inputs=INPUTS, outputs=outputs, output=None, path="e.npz"
            ).score(outputs)


def test_an_output_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="the model has no output 'q' to evaluate; it has y"):
        ask(Metric.ACCURACY, np.array([0, 1, 2, 2]), "q")


def test_a_budget_is_a_share_and_of_the_squared_error_one_of_the_variance() -> None:
    truth = np.array([[0.0, 10.0], [200.0, 10.0], [0.0, 30.0], [200.0, 30.0]])
    assert MetricQuestion(Metric.MSE, "y", truth, "data").budget(0.005) == pytest.approx(0.005 * (10_000 + 100) / 2)
    assert MetricQuestion(Metric.MSE, "y", np.ones((4, 1)), "data").budget(0.005) == 0.005
    assert MetricQuestion(Metric.MAE, "y", truth, "data").budget(0.005) == pytest.approx(0.005 * (100 + 10) / 2)
    for metric in (Metric.ACCURACY, Metric.R2):
        assert MetricQuestion(metric, "y", np.arange(4), "data").budget(0.005) == 0.005
