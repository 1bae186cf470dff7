"""Counts of how two models agree: right for one window, and the same however windows are cut and merged."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.manifest import DType, Manifest, Signature, TensorSpec
from edgemm.errors import EngineError
from edgemm_runtime.shadow.agreement import MAX_CLASSES, Agreement, ClassAgreement, ErrorDistribution, merge
from edgemm_runtime.shadow.counting import Comparison, Kind, compare, incompatibility
from edgemm_runtime.shadow.sampling import Gaps
from tests.unit.core.bundles import small_manifest

CLASSES = Comparison("scores", Kind.CLASSES, 1.0)
VALUES = Comparison("y", Kind.VALUES, 2.0)
HOW = (CLASSES, VALUES)


def answers(rows: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "scores": random.uniform(0, 1, (rows, 4)).astype(np.float32),
        "y": random.normal(0, 1, (rows, 3)).astype(np.float32),
    }


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(0, 2**32 - 1), st.randoms())
def test_merged_windows_are_one_pass(cuts: list[int], seed: int, random: Random) -> None:
    active, shadow = answers(20, seed), answers(20, seed + 1)
    edges = sorted({0, 20, *cuts})
    windows = [
        compare(HOW, {n: a[i:j] for n, a in active.items()}, {n: a[i:j] for n, a in shadow.items()})
        for i, j in itertools.pairwise(edges)
    ]
    random.shuffle(windows)
    merged: dict[str, Agreement] = {}
    for window in windows:
        merged = merge(merged, window)
    whole = compare(HOW, active, shadow)
    assert merged == whole
    assert isinstance(whole["scores"], ClassAgreement)
    assert whole["scores"].rows == 20


def test_rows_are_counted_by_the_class_that_each_named() -> None:
    named = np.eye(3, dtype=np.float32)
    found = compare((CLASSES,), {"scores": named[[0, 1, 1, 2]]}, {"scores": named[[0, 1, 2, 0]]})["scores"]
    assert found == ClassAgreement({0: 1, 1: 1}, active_only={1: 1, 2: 1}, shadow_only={0: 1, 2: 1})
    assert found.agreement == 0.5
    assert found.classes == [0, 1, 2]


def test_classes_beyond_the_last_are_counted_together() -> None:
    scores = np.zeros((2, MAX_CLASSES + 50), np.float32)
    scores[0, MAX_CLASSES + 3] = scores[1, MAX_CLASSES + 40] = 1
    found = compare((CLASSES,), {"scores": scores}, {"scores": scores})["scores"]
    assert found == ClassAgreement({MAX_CLASSES: 2})


def test_errors_are_a_share_of_the_range_and_have_a_side() -> None:
    active = np.array([[0.0, 0.0, 0.0, math.nan, math.nan, math.inf]])
    shadow = np.array([[0.0, 0.02, -2.0, math.nan, 1.0, math.inf]])
    found = compare((VALUES,), {"y": active}, {"y": shadow})["y"]
    assert isinstance(found, ErrorDistribution)
    assert (found.values, found.above, found.below) == (6, 1, 1)
    assert found.counts[0] == 3, "equal, both NaN, and one infinity are no error"
    assert found.counts[-1] == 1, "NaN on one side alone"
    assert found.quantile(0.5) == 1e-6
    assert found.quantile(0.6) == 0.01, "0.02 of a range of 2"
    assert found.quantile(1.0) == math.inf
    assert ErrorDistribution().quantile(0.5) is None


def test_answers_of_other_shapes_are_no_agreement() -> None:
    with pytest.raises(EngineError, match="one shape"):
        compare((VALUES,), {"y": np.zeros((2, 3))}, {"y": np.zeros((2, 4))})


def test_a_model_that_takes_or_gives_something_else_is_no_shadow() -> None:
    def manifest(takes: tuple[int, ...], gives: tuple[int, ...]) -> Manifest:
        signature = Signature(
            inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=takes),),
            outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=gives),),
        )
        return small_manifest(signature=signature)

    active = manifest((-1, 8), (-1, 2))
    assert incompatibility(active, manifest((-1, 8), (-1, 5))) is None, "classes may have come"
    assert "takes" in str(incompatibility(active, manifest((-1, 5), (-1, 2))))
    assert "gives" in str(incompatibility(active, manifest((-1, 8), (-1, 3, 3))))


def test_a_stateful_model_is_no_shadow_and_has_none() -> None:
    plain, stateful = small_manifest(), small_manifest(stateful=True)
    assert "active model is stateful" in str(incompatibility(stateful, plain))
    assert "shadow is stateful" in str(incompatibility(plain, stateful))


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 1.0])
def test_the_share_of_requests_is_the_share_that_was_asked_for(share: float) -> None:
    gaps, sampled, seen = Gaps(share, seed=1), 0, 0
    while seen < 200_000:
        seen += gaps.draw() + 1
        sampled += 1
    assert abs(sampled / seen - share) < 4 * math.sqrt(share * (1 - share) / seen) + 1e-4
