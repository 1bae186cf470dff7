"""The search for a precision, as a table: what each candidate would lose → what is evaluated, and taken."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.manifest import Precision
from edgemm_converter.judging import search
from edgemm_converter.judging.search import PrecisionCandidate, SearchSpace, SearchTrial

P = Precision
FLOAT = 1000


def size(candidate: PrecisionCandidate, layers: int) -> int:
    if candidate.precision is P.FLOAT16:
        return 500
    return 260 + (candidate.float_layers * 740) // max(layers, 1)


def run(
    drops: Mapping[Precision, float], mixed: Mapping[int, float] | None = None, *, layers: int = 20,
    calibrated: bool = True,
) -> tuple[list[SearchTrial], SearchTrial | None]:  # fmt: skip
    space = SearchSpace(FLOAT, layers, calibrated, max_drop=0.01)
    trials: list[SearchTrial] = []
    while (candidate := search.next_candidate(trials, space)) is not None:
        drop = drops.get(candidate.precision, 0.5)
        if candidate.precision is P.MIXED:
            drop = min((d for n, d in (mixed or {}).items() if n <= candidate.float_layers), default=0.5)
        trials.append(SearchTrial(candidate, size(candidate, layers), drop))
    return trials, search.best(trials, space)


def test_int8_that_fits_is_all_that_is_evaluated() -> None:
    trials, best = run({P.INT8: 0.0})
    assert [t.candidate.precision for t in trials] == [P.INT8]
    assert best == trials[0]


def test_other_kinds_of_8_bit_weights_come_before_larger_files() -> None:
    trials, best = run({P.INT8_WEIGHTS: 0.0})
    assert [t.candidate.precision for t in trials] == [P.INT8, P.INT8_DYNAMIC, P.INT8_WEIGHTS]
    assert best is not None
    assert best.candidate.precision is P.INT8_WEIGHTS


@pytest.mark.parametrize(("needed", "found"), [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6)])
def test_the_fewest_float_layers_that_are_enough(needed: int, found: int) -> None:
    _, best = run({P.FLOAT16: 0.0}, {needed: 0.0})
    assert best is not None
    assert best.candidate == PrecisionCandidate(P.MIXED, found)


def test_float16_when_mixed_would_be_no_smaller() -> None:
    trials, best = run({P.FLOAT16: 0.0}, {18: 0.0})
    assert best is not None
    assert best.candidate.precision is P.FLOAT16
    assert max(t.candidate.float_layers for t in trials) <= 8


def test_nothing_fits() -> None:
    trials, best = run({P.FLOAT16: 0.02})
    assert best is None
    closest = search.closest(trials)
    assert closest is not None
    assert closest.candidate.precision is P.FLOAT16


def test_without_calibration_there_is_no_static_integer() -> None:
    trials, _ = run({}, calibrated=False)
    assert not {P.INT8, P.INT16X8} & {t.candidate.precision for t in trials}


def test_a_candidate_that_cannot_be_made_is_passed_over() -> None:
    space = SearchSpace(FLOAT, 0, calibrated=True, max_drop=0.01)
    refused = SearchTrial(PrecisionCandidate(P.INT8), refused="no")
    assert search.next_candidate([refused], space) == PrecisionCandidate(P.INT8_DYNAMIC)
    assert search.best([refused], space) is None
    assert search.closest([refused]) is None


@given(
    drops=st.dictionaries(st.sampled_from(list(P)), st.floats(0, 0.1)),
    mixed=st.dictionaries(st.integers(1, 300), st.floats(0, 0.1)),
    layers=st.integers(0, 300),
    calibrated=st.booleans(),
)
def test_never_more_than_twelve_never_twice_and_always_within_the_budget(
    drops: dict[Precision, float], mixed: dict[int, float], layers: int, calibrated: bool
) -> None:
    trials, best = run(drops, mixed, layers=layers, calibrated=calibrated)
    assert len(trials) <= 12
    assert len({t.candidate for t in trials}) == len(trials)
    assert all(t.candidate.float_layers <= layers for t in trials)
    if best is not None:
        assert best.drop is not None
        assert best.drop <= 0.01 + 1e-9
    else:
        assert PrecisionCandidate(P.FLOAT16) in {t.candidate for t in trials}
