"""Places: how many an owner has, and who gives way."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgemm_fleet.http.open_files import allowed_connections
from edgemm_fleet.http.places import OwnerPlaces, address_of, giving_way


@dataclass
class Held:
    address: str
    rank: tuple[int, float] | None

    def turn(self, now_s: float) -> tuple[int, float] | None:
        return self.rank


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_what_counts_as_one_address(host: str, address: str) -> None:
    assert address_of(host) == address


def test_an_owner_beyond_its_share_gives_way_to_itself_and_the_largest_to_others() -> None:
    places = OwnerPlaces(most=4, most_of_one=3)
    for owner in ("large", "large", "small"):
        places.take(owner)
    assert places.crowded_by("large") is None
    places.take("large")
    assert places.crowded_by("large") == "large"
    assert places.crowded_by("small") == "large"
    places.give_back("large")
    assert places.crowded_by("small") is None
    assert (len(places), places.of("large"), places.of("nobody")) == (3, 2, 0)


def test_who_gives_way_is_of_the_crowd_and_in_turn() -> None:
    held = [Held("a", (1, 5.0)), Held("a", (0, 9.0)), Held("a", None), Held("b", (0, 0.0)), Held("a", (1, 2.0))]
    assert giving_way(held, "a", now_s=10.0) == [held[1], held[4], held[0]]


@pytest.mark.parametrize(
    ("limit", "expected"), [(20_000, 4096), (4096, 4096 - 1024 - 64 - 512), (1024, 512), (64, 32), (16, 16)]
)
def test_connections_leave_room_for_other_files(limit: int, expected: int) -> None:
    assert allowed_connections(4096, files=512, limit=limit) == expected
