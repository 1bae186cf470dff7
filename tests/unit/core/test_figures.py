import math

import pytest

from edgemm import figures


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0.0%"), (0.123, "12.3%"), (-0.5, "-50.0%"), (9.99, "999.0%"), (12.0, "12 times"),
        (3.17611069925e33, "3.18e+33 times"), (math.inf, "infinite"), (math.nan, "not a number"),
    ],
)  # fmt: skip
def test_a_share_is_told_so_that_it_can_be_read(value: float, told: str) -> None:
    assert figures.share(value) == told


@pytest.mark.parametrize(
    ("value", "told"), [(0.98765, "0.9877"), (-0.5, "-0.5000"), (123456.0, "123456.0000"), (1.5e30, "1.5e+30")]
)
def test_a_score_has_four_places_or_a_power_of_ten(value: float, told: str) -> None:
    assert figures.score(value) == told
    assert figures.score(1.5, sign="+") == "+1.5000"
    assert figures.interval(0.1, -0.2, 3e9) == "0.1000 (95 % interval -0.2000 to 3e+09)"


def test_a_part_is_counted() -> None:
    assert (figures.part(3, 1_000_000), figures.part(1, 1)) == ("3 of 1,000,000 values", "1 of 1 value")
