from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.errors import InputError
from edgemm.versions import VERSION_PATTERN, Version
from edgemm_fleet.filters.ranks import rank

VERSIONS = st.from_regex(re.compile(VERSION_PATTERN, re.ASCII)).filter(lambda text: len(text) <= 64)
IN_ORDER = ["0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.11", "1", "1.9", "1.10"]


@given(VERSIONS, VERSIONS)
def test_ranks_are_in_the_order_of_semantic_versions(one: str, other: str) -> None:
    first, second = rank(one), rank(other)
    assert first is not None
    assert second is not None
    assert (first < second, first == second) == (Version(one) < Version(other), Version(one) == Version(other))


def test_versions_of_libraries_have_a_place_too() -> None:
    ranks = [rank(text) or "" for text in [*IN_ORDER, "2.14.0rc1", "2.14.0", "2.14.0.1", "20240101"]]
    assert ranks == sorted(ranks)
    early = [rank(text) or "" for text in ["2.0a1", "2.0b2.dev3", "2.0rc1", "2.0"]]
    assert early == sorted(early)
    assert "" not in early
    assert rank("2.14") == rank("2.14.0") == rank("2.14.0.0+nv23.5")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1.",
        ".1",
        "1.2.3.4.5",
        "1..2",
        "1-",
        "-1",
        "1.2 ",
        "٣",
        "9" * 65,
        "1.2-é",
        "1e1",
        "1E5",
        "1e-5",
        "1e+5",
        "0x10",
        "10k",
        "1.5GB",
        "1.2.0post1",
    ],
)
def test_what_is_no_version_has_no_rank(text: str) -> None:
    assert rank(text) is None
    with pytest.raises(InputError):
        Version(text)
