from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgemm_runtime.agent.backoff import Backoff


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded_and_never_a_busy_loop(failures: int, draw: float) -> None:
    assert 0.1 <= Backoff(1.0, 300.0).delay_s(failures, draw=draw) <= 300.0


def test_pauses_grow_and_spread() -> None:
    backoff = Backoff(1.0, 300.0)
    assert [backoff.delay_s(n, draw=0.5) for n in (1, 2, 3, 4, 20)] == [0.5, 1.0, 2.0, 4.0, 150.0]
    assert backoff.delay_s(5, draw=0.9) > backoff.delay_s(5, draw=0.2)
