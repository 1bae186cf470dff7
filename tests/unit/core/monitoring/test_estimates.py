"""Estimates of counts: the states, the maps, the interval."""

import msgspec
import numpy as np
import pytest

from edgemm.monitoring import AgreementCounts, EstimateState, estimate
from edgemm.monitoring.estimates import answers
from edgemm.monitoring.monitor_document import CELLS, FEATURES, Map, MonitorDocument
from tests.monitors import CLASSES, float32, small_document


def counts(samples: int, *, agreed: float, cell: int = CELLS - 1) -> AgreementCounts:
    cells = [0] * CELLS
    cells[cell] = samples
    right = round(samples * agreed)
    return AgreementCounts(
        samples=samples, cells=tuple(cells), committee=right, heads=(right,) * 3, pairs=(samples,) * 3,
        predicted=(samples, *[0] * (CLASSES - 1)),
    )  # fmt: skip


def with_interval(**changes: object) -> MonitorDocument:
    document = small_document()
    return msgspec.structs.replace(document, interval=msgspec.structs.replace(document.interval, **changes))


def test_the_accuracy_follows_agreement_by_the_chosen_map() -> None:
    found = estimate(small_document(), counts(1000, agreed=0.75))
    assert found.accuracy is not None
    assert found.accuracy == pytest.approx(0.1 + 0.8 * 0.75)
    width = 0.01 + (0.95 - found.accuracy) / 10
    assert (found.low, found.high) == pytest.approx((found.accuracy - width, found.accuracy + width))
    assert (found.state, found.samples) == (EstimateState.KNOWN, 1000)


def test_a_wide_interval_is_uncertain() -> None:
    assert estimate(with_interval(quantile=6.0), counts(1000, agreed=0.75)).state is EstimateState.UNCERTAIN


@pytest.mark.parametrize("number", [-3e38, -1.0, 7.0, 3e38])
def test_whatever_a_document_has_an_accuracy_is_one(number: float) -> None:
    maps = msgspec.structs.replace(
        small_document().maps, accuracy=float32([number, number]), table=float32([number] * CELLS), intercept=number
    )
    for chosen in Map:
        document = msgspec.structs.replace(
            with_interval(quantile=number, most_spread=2.0), maps=msgspec.structs.replace(maps, chosen=chosen)
        )
        found = estimate(document, counts(1000, agreed=0.75))
        assert found.accuracy is not None
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.accuracy <= found.high <= 1


def test_few_requests_are_insufficient_and_unsupported_stays_so() -> None:
    few = estimate(small_document(), counts(99, agreed=0.9))
    assert (few.state, few.accuracy) == (EstimateState.INSUFFICIENT, None)
    other = estimate(small_document(supported=False, reason="why"), counts(1000, agreed=0.9))
    assert (other.state, other.accuracy) == (EstimateState.UNSUPPORTED, None)


def test_a_window_unlike_all_others_has_no_number_but_at_most() -> None:
    for document, beyond in (
        (with_interval(most_distance=0.01), False),
        (with_interval(most_spread=0.0001), False),
        (small_document(), True),
    ):
        found = estimate(document, counts(1000, agreed=0.75), beyond=beyond)
        assert (found.state, found.accuracy, found.low) == (EstimateState.OUT_OF_RANGE, None, None)
        assert found.high is not None


def test_a_map_of_a_later_version_is_out_of_range_and_no_failure() -> None:
    document = small_document()
    other = msgspec.structs.replace(document, maps=msgspec.structs.replace(document.maps, chosen=Map("spline")))
    assert estimate(other, counts(1000, agreed=0.9)).state is EstimateState.UNSUPPORTED


def test_the_maps_are_their_formulas() -> None:
    random = np.random.default_rng(2)
    mean, scale, weights = random.random(FEATURES), 0.1 + random.random(FEATURES), random.normal(size=FEATURES) / 50
    maps = msgspec.structs.replace(
        small_document().maps, mean=float32(mean), scale=float32(scale), weights=float32(weights)
    )
    shares = random.random(FEATURES)
    found = answers(maps, shares.tolist())
    wanted = 0.5 + np.clip((shares - mean) / scale, -5, 5) @ weights
    assert found[Map.RIDGE] == pytest.approx(min(1.0, max(0.0, wanted)), abs=1e-5)
    assert found[Map.TABLE] == pytest.approx(min(1.0, shares[:CELLS] @ np.linspace(0, 1, CELLS)), abs=1e-6)
