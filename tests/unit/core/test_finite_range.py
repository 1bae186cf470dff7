import click
import pytest

from edgemm.finite_range import FiniteRange, seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "0", "-1", "1e10", "much"])
def test_a_timeout_is_a_number_of_seconds_up_to_a_year(text: str) -> None:
    with pytest.raises(click.BadParameter):
        seconds().convert(text, None, None)


def test_a_number_without_limits_is_finite_all_the_same() -> None:
    assert FiniteRange().convert("-1.5", None, None) == -1.5
    with pytest.raises(click.BadParameter, match="'nan': expected a finite number"):
        FiniteRange().convert("nan", None, None)
