"""How much of the time a shadow computes."""

from __future__ import annotations

import pytest

from edgemm_runtime.shadow.shadow_limits import ShadowLimits


@pytest.mark.parametrize("took_s", [0.001, 0.02, 0.1])
def test_it_computes_for_its_share_of_the_time(took_s: float) -> None:
    limits = ShadowLimits(busy_share=0.01)
    assert took_s / (took_s + limits.pause_s(took_s, cpu_s=took_s / 2)) == pytest.approx(0.01)


def test_one_that_waits_for_a_cpu_for_long_is_heard_again_within_a_minute() -> None:
    assert ShadowLimits().pause_s(30.0, cpu_s=0.01) == 60.0


def test_one_that_computes_for_long_keeps_to_its_share() -> None:
    assert ShadowLimits(busy_share=0.01).pause_s(8.0, cpu_s=8.0) == pytest.approx(8.0 * 99)


def test_a_share_of_all_is_no_pause() -> None:
    assert ShadowLimits(busy_share=1.0).pause_s(5.0, cpu_s=5.0) == 0.0
