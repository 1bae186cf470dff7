import itertools

import pytest

from edgemm.errors import InputError
from edgemm.versions import Version, release_tuple

# semver.org 2.0.0, clause 11: each is lower than the next.
RISING = ["0.0.9", "0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
          "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]  # fmt: skip


def test_precedence_is_semver_clause_11() -> None:
    versions = [Version(text) for text in RISING]
    assert all(low < high for low, high in itertools.pairwise(versions))
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "v1.0.0", "1.0.0\n", "1.0.0+b", "1.0.٣"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"MAJOR\.MINOR\.PATCH"):
        Version(text)


def test_numeric_version_is_tensorflow_servings() -> None:
    assert Version("2.13.7").numeric == 2_013_007


@pytest.mark.parametrize(("text", "expected"), [("2.14.0rc1", (2, 14, 0)), ("1", (1,)), ("unknown", ())])
def test_release_tuple_of_a_library(text: str, expected: tuple[int, ...]) -> None:
    assert release_tuple(text) == expected
