"""Requests that are computed together get what each would get alone, or are not computed together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.manifest import DType, TensorSpec
from edgemm.errors import EngineError
from edgemm_runtime import engines
from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.tensors import batching
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators.models import FEATURES, INPUT, OUTPUT, SIGNATURE, VARIANTS, Dense, make_variant, model_file

DENSE = Dense.random(7)
VARIANT = make_variant(DENSE, "tflite:float32", blob="0" * 64)
Compute = Callable[[Array], Array]


def predict(x: Array) -> Array:
    """Return each row's answer by itself: of several at once, NumPy's last bits are others."""
    return np.concatenate([DENSE.predict(row[np.newaxis]) for row in x])


class FakeSession:
    """Computes as it is told, and notes how many rows it was given at a time."""

    def __init__(self, compute: Compute) -> None:
        self._compute, self.is_wide = compute, False
        self.rows: list[int] = []
        self.wide_differs = False

    def invoke(self, feeds: Arrays) -> dict[str, Array]:
        [values] = feeds.values()
        self.rows.append(len(values))
        found = self._compute(values) + np.float32(self.is_wide and self.wide_differs)
        return {VARIANT.outputs[0].tensor: found.astype(np.float32)}

    def widen(self, feeds: Arrays) -> dict[str, Array]:
        self.is_wide = True
        return self.invoke(feeds)

    def narrow(self) -> None:
        self.is_wide = False


def rows(count: int, seed: int = 0) -> Arrays:
    return {INPUT: np.random.default_rng(seed).uniform(-1, 1, (count, FEATURES)).astype(np.float32)}


def model(compute: Compute, *, samples: int = 4) -> tuple[SignatureModel, FakeSession]:
    session = FakeSession(compute)
    served = SignatureModel(session, VARIANT, SIGNATURE)  # type: ignore[arg-type]  # what it does not ask is not there
    served.tune([rows(1, seed) for seed in range(samples)])
    session.rows.clear()
    return served, session


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_what_is_joined_comes_apart_again(counts: list[int]) -> None:
    requests = [rows(count, seed) for seed, count in enumerate(counts)]
    joined = batching.join(requests)
    assert len(joined[INPUT]) == sum(counts)
    assert all(map(batching.identical, batching.split(joined, counts), requests))


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_a_batch_answers_what_each_gets_alone(variant_id: str) -> None:
    variant = make_variant(DENSE, variant_id, blob="0" * 64)
    served = engines.load(variant, SIGNATURE, model_file(DENSE, variant_id))
    requests = [rows(1, seed) for seed in range(6)]
    alone = [served.run(request) for request in requests]
    assert served.run_together(requests) is None, "nobody has seen yet that it does"
    served.tune(requests[:4])
    found = served.run_together(requests)
    assert found is not None
    assert all(map(batching.identical, found, alone))


def test_they_are_one_inference_whose_rows_each_has_its_own() -> None:
    served, session = model(predict)
    requests = [rows(1, 5), rows(1, 6)]
    found = served.run_together(requests)
    assert session.rows == [2]
    assert found is not None
    for request, answer in zip(requests, found, strict=True):
        assert np.allclose(answer[OUTPUT], DENSE.predict(request[INPUT]), atol=1e-6)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: predict(x) + x.mean(),
        lambda x: predict(x[::-1].copy()),
        lambda x: predict(x) + np.float32(1e-6) * (len(x) - 1),
        lambda x: predict(x)[:1],
    ],
    ids=["a mean over the batch", "rows in another order", "other last bits", "one row for all"],
)
def test_a_model_whose_rows_are_not_their_own_is_never_asked_for_a_batch(compute: Compute) -> None:
    served, session = model(compute)
    assert not served.together
    assert served.run_together([rows(1, 5), rows(1, 6)]) is None
    assert session.rows == []


def test_one_golden_sample_proves_nothing() -> None:
    assert not model(predict, samples=1)[0].together


def test_requests_of_forms_that_were_never_answered_are_computed_alone() -> None:
    served, session = model(predict)
    assert served.run_together([rows(1), rows(3)]) is None
    assert served.run_together([rows(1), {INPUT: rows(1)[INPUT].astype(np.float64)}]) is None
    assert session.rows == []


def test_where_a_batch_fails_each_is_left_to_be_computed_alone() -> None:
    def compute(x: Array) -> Array:
        if (x > 1).any():
            raise EngineError("no")
        return predict(x)

    served, _ = model(compute)
    assert served.run_together([rows(1, 5), {INPUT: np.full((1, FEATURES), 2, np.float32)}]) is None
    assert served.run_together([rows(1, 5), rows(1, 6)]) is not None


@pytest.mark.parametrize("differs", [False, True])
def test_several_threads_are_used_only_where_they_answer_the_same(differs: bool) -> None:
    session = FakeSession(predict)
    session.wide_differs = differs
    served = SignatureModel(session, VARIANT, SIGNATURE)  # type: ignore[arg-type]  # as above
    served.tune([rows(1), rows(1, 1)])
    assert session.is_wide is not differs


def test_nor_is_one_of_which_that_is_known_though_its_samples_do_not_show_it() -> None:
    apart = msgspec.structs.replace(SIGNATURE, row_by_row=False)
    assert batching.has_free_batch(VARIANT, SIGNATURE)
    assert not batching.has_free_batch(VARIANT, apart)
    served = SignatureModel(FakeSession(predict), VARIANT, apart)  # type: ignore[arg-type]
    served.tune([rows(1, seed) for seed in range(4)])
    assert not served.together


@pytest.mark.parametrize("shape", [(), (2, -1, 4), (8, 4)])
def test_nor_is_one_with_a_tensor_whose_first_axis_is_no_open_batch(shape: tuple[int, ...]) -> None:
    more = TensorSpec(name="more", dtype=DType.FLOAT32, shape=shape)
    for side in ("inputs", "outputs"):
        signature = msgspec.structs.replace(SIGNATURE, **{side: (*getattr(SIGNATURE, side), more)})
        assert not batching.has_free_batch(VARIANT, signature)
