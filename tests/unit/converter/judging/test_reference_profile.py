import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgemm_converter.judging import reference_profile

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def test_deciles_hold_a_tenth_each() -> None:
    found = reference_profile.histogram(np.arange(1000.0))
    assert len(found.edges) == reference_profile.BINS + 1
    assert found.counts.tolist() == [0, *[100] * 10, 0, 0]


def test_bins_are_closed_on_the_left() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    values = np.array([-0.1, 0.0, 0.9, 1.0, 2.0, 5.0, np.nan, np.inf, -np.inf])
    assert reference_profile.count(values, edges).tolist() == [2, 2, 1, 3, 1]


def test_equal_values_share_one_bin() -> None:
    found = reference_profile.histogram(np.full(7, 3.0))
    assert len(found.edges) == 2
    assert found.edges[0] < found.edges[1]
    assert found.counts.tolist() == [0, 7, 0, 0]


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FLOATS))
def test_the_reference_lies_within_its_own_bins(values: np.ndarray) -> None:
    found = reference_profile.histogram(values)
    assert (np.diff(found.edges) > 0).all()
    assert len(found.counts) == len(found.edges) + 2
    assert found.counts.sum() == values.size
    assert found.counts[0] == found.counts[-2] == found.counts[-1] == 0


@given(hnp.arrays(np.float32, st.integers(2, 60), elements=FLOATS), st.integers(1, 59))
def test_counts_of_parts_add_up(values: np.ndarray, cut: int) -> None:
    edges = reference_profile.histogram(values).edges
    parts = reference_profile.count(values[:cut], edges) + reference_profile.count(values[cut:], edges)
    assert (parts == reference_profile.count(values, edges)).all()


def test_confidence_is_the_largest_probability() -> None:
    assert reference_profile.confidence(np.array([[[0.2, 0.8]], [[0.6, 0.4]]])).tolist() == [[0.8], [0.6]]
