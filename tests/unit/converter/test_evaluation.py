import numpy as np
import pytest

from edgemm.errors import InputError
from edgemm_converter import evaluation


def test_accuracy_counts_right_classes() -> None:
    output = np.eye(3)[[0, 1, 2, 2]][:, np.newaxis]
    assert evaluation.accuracy(output, np.array([0, 1, 2, 0]), path="e") == 0.75


def test_one_probability_is_cut_at_a_half() -> None:
    output = np.array([0.1, 0.9, 0.6])[:, np.newaxis, np.newaxis]
    assert evaluation.accuracy(output, np.array([0, 1, 0]), path="e") == pytest.approx(2 / 3)


def test_one_hot_labels_are_read() -> None:
    found = evaluation.split({"x": np.zeros((3, 2)), "labels": np.eye(3)}, path="e")
    assert found.labels.tolist() == [0, 1, 2]
    assert list(found.inputs) == ["x"]


@pytest.mark.parametrize("labels", [np.array(["a", "b"]), np.array([0.5, 1.0]), np.zeros((2, 3, 4)), np.array(1)])
def test_labels_of_another_kind_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected 'labels' to be integers"):
        evaluation.split({"x": np.zeros((2, 2)), "labels": labels}, path="e")


def test_a_file_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a \.npz of inputs and 'labels', found x"):
        evaluation.split({"x": np.zeros(3)}, path="e")


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1], [0, 1]])
def test_labels_that_do_not_fit_the_output_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="expected"):
        evaluation.accuracy(np.eye(3)[:, np.newaxis], np.array(labels), path="e")


def test_two_outputs_make_accuracy_ambiguous() -> None:
    outputs = {"a": np.zeros((2, 1, 3)), "b": np.zeros((2, 1, 3))}
    with pytest.raises(InputError, match="exactly one output"):
        evaluation.scored_output(outputs, path="e")
