from __future__ import annotations

import numpy as np

from edgemm_runtime.tensors.kernel_comparison import rows_of, share_of_rows, share_of_values

BOXES = np.array([[[0, 0], [1, 1], [2, 2]]], np.float32)
SCORES = np.array([[0.9, 0.8, 0.7]], np.float32)
CLOSE = {"boxes": (0.1, 0.1), "scores": (0.05,)}


def test_values_are_counted_that_are_alike() -> None:
    assert share_of_values(BOXES, BOXES, (0.0,)) == 1
    moved = BOXES + np.array([0.2, 0], np.float32)
    assert share_of_values(BOXES, moved, (0.1,)) == 0.5
    assert share_of_values(BOXES, moved, (0.3, 0.0)) == 1
    assert share_of_values(BOXES, np.full_like(BOXES, np.nan), (1e9,)) == 0
    assert share_of_values(BOXES, BOXES[:, :2], (1e9,)) == 0
    assert share_of_values(np.zeros((1, 0)), np.zeros((1, 0)), (0.0,)) == 1


def test_rows_are_matched_by_all_outputs_and_each_only_once() -> None:
    def share(boxes: list[int], scores: list[int]) -> float:
        found = {"boxes": BOXES[:, boxes], "scores": SCORES[:, scores]}
        return round(share_of_rows({"boxes": BOXES, "scores": SCORES}, found, CLOSE), 3)

    assert share([0, 1, 2], [0, 1, 2]) == 1
    assert share([2, 0, 1], [2, 0, 1]) == 1
    assert share([2, 0, 1], [0, 1, 2]) == 0  # the score of another box
    assert share([0, 0, 0], [0, 0, 0]) == 0.333
    assert share([0, 1], [0, 1]) == 0  # another shape


def test_rows_lie_behind_a_batch_of_one() -> None:
    assert rows_of(BOXES).shape == (3, 2)
    assert rows_of(SCORES).shape == (3, 1)
    assert rows_of(np.zeros((5, 7))).shape == (5, 7)
    assert rows_of(np.zeros(4)).shape == (4, 1)
