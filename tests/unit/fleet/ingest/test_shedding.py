from __future__ import annotations

import pytest

from edgemm_fleet.ingest.shedding import CutRules, Misdeed, Shedding

RULES = CutRules(span_s=10, shed_bytes=1000, shed_messages=5, refusals=3, first_s=10, most_s=40, calm_s=600)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def shedding(clock: Clock, cuts: list[str] | None = None, *, kept: int = 1000) -> Shedding:
    made = Shedding(clock=clock, rules=RULES, kept=kept)
    if cuts is not None:
        made.cut = lambda: cuts.append("cut")
    return made


@pytest.mark.parametrize(
    ("misdeed", "size", "until_cut"),
    [(Misdeed.OVER_SHARE, 300, 4), (Misdeed.OVER_SHARE, 1, 6), (Misdeed.REFUSED, 0, 4), (Misdeed.GARBAGE, 1, 1)],
)
def test_a_device_that_goes_on_is_cut_off_and_let_in_again(misdeed: Misdeed, size: int, until_cut: int) -> None:
    clock = Clock()
    cuts: list[str] = []
    account = shedding(clock, cuts)
    for number in range(1, until_cut + 1):
        assert account.cut_off() == frozenset()
        account.note("bad", misdeed, size=size)
        assert bool(cuts) is (number == until_cut)
    assert account.cut_off() == {"bad"}
    for _ in range(50):
        account.note("bad", misdeed, size=size)
    assert cuts == ["cut"], "what was still on its way does not count against it again"
    clock.now += 10
    assert account.cut_off() == frozenset()


def test_each_flood_costs_twice_as_long_as_the_one_before_up_to_a_limit_and_a_calm_time_ends_that() -> None:
    clock = Clock()
    account = shedding(clock, [])
    lengths = []
    for _ in range(5):
        account.note("bad", Misdeed.GARBAGE)
        shed = account.of("bad")
        assert shed is not None
        assert shed.cut_until is not None
        lengths.append(shed.cut_until - clock.now)
        clock.now = shed.cut_until + 1
    assert lengths == [10, 20, 40, 40, 40]
    clock.now += 601
    account.note("bad", Misdeed.GARBAGE)
    shed = account.of("bad")
    assert shed is not None
    assert shed.cut_until == clock.now + 10


def test_what_is_spread_over_time_cuts_nobody_off() -> None:
    clock = Clock()
    cuts: list[str] = []
    account = shedding(clock, cuts)
    for _ in range(100):
        account.note("slow", Misdeed.OVER_SHARE, size=300)
        clock.now += 4
    assert not cuts
    shed = account.of("slow")
    assert shed is not None
    assert (shed.messages, shed.bytes) == (100, 30_000)


def test_nobody_is_cut_off_where_that_is_not_possible() -> None:
    account = shedding(Clock())
    account.note("bad", Misdeed.GARBAGE)
    assert account.cut_off() == frozenset()


def test_a_clock_that_is_set_back_shuts_nobody_out_for_years() -> None:
    clock = Clock()
    account = shedding(clock, [])
    account.note("bad", Misdeed.GARBAGE)
    clock.now -= 1e8
    assert account.cut_off() == frozenset()


def test_accounts_and_log_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    account = shedding(Clock(), kept=10)
    for number in range(5000):
        account.note(f"bad-{number % 500}", Misdeed.OVER_SHARE, size=1)
    assert [shed.device for shed in account.all()] == [f"bad-{number}" for number in range(490, 500)]
    assert len(caplog.records) <= 100
    assert "ingest_shed device=bad-0 why=over_share" in caplog.text
