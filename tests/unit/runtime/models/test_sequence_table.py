"""Which sequences run: begun, gone on with, ended and forgotten, by what requests say and by the time."""

from __future__ import annotations

import pytest

from edgemm.errors import BadRequestError, UnavailableError
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.models.sequence_table import Place, SequenceId, SequenceStep, SequenceTable

LIMITS = SequenceLimits(max_running=2, idle_s=10.0)


class Clients:
    """Requests to a table at a time that tests set; each is answered at once unless it is told to stay."""

    def __init__(self) -> None:
        self.table: SequenceTable[str] = SequenceTable("wake", LIMITS)
        self.now_s = 0.0

    def ask(self, name: SequenceId, *, start: bool = False, end: bool = False, stay: bool = False) -> Place[str]:
        step = SequenceStep(name, start=start, end=end)
        place = self.table.find(step, self.now_s) or self.table.begin(step, f"begun at {self.now_s:g}", self.now_s)
        if not stay:
            self.table.give(place, self.now_s)
        return place


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_a_sequence_goes_on_until_its_end(clients: Clients) -> None:
    first = clients.ask("a", start=True)
    assert clients.ask("a") is first
    assert clients.ask("a", end=True) is first
    assert len(clients.table) == 0
    with pytest.raises(
        BadRequestError, match=r"no sequence 'a' of model 'wake' runs.*begin it anew with sequence_start"
    ):
        clients.ask("a")


def test_one_request_may_be_a_whole_sequence(clients: Clients) -> None:
    clients.ask("a", start=True, end=True)
    assert (len(clients.table), clients.table.begun) == (0, 1)


def test_a_start_begins_anew_whatever_ran(clients: Clients) -> None:
    first = clients.ask("a", start=True)
    clients.now_s = 1
    second = clients.ask("a", start=True)
    assert second is not first
    assert clients.ask("a") is second
    assert len(clients.table) == 1


def test_a_number_and_its_text_are_two_ids(clients: Clients) -> None:
    assert clients.ask(7, start=True) is not clients.ask("7", start=True)
    assert len(clients.table) == 2


def test_too_many_are_told_to_come_later_and_a_restart_is_none_more(clients: Clients) -> None:
    clients.ask("a", start=True)
    clients.ask("b", start=True)
    with pytest.raises(UnavailableError, match=r"2 sequences of model 'wake' run, as many as may: end one"):
        clients.ask("c", start=True)
    clients.ask("a", start=True)
    clients.ask("b", end=True)
    clients.ask("c", start=True)


def test_what_is_idle_is_forgotten_and_what_is_used_is_not(clients: Clients) -> None:
    clients.ask("a", start=True)
    clients.ask("b", start=True)
    clients.now_s = 9
    clients.ask("b")
    clients.now_s = 10
    clients.ask("c", start=True)
    with pytest.raises(BadRequestError, match="was idle for 10 s"):
        clients.ask("a")
    clients.ask("b")
    assert clients.table.expired == 1


def test_what_a_request_still_has_is_never_idle_and_takes_its_room(clients: Clients) -> None:
    held = clients.ask("a", start=True, stay=True)
    clients.now_s = 100
    assert clients.ask("a") is held
    clients.ask("a", end=True)
    clients.ask("b", start=True)
    with pytest.raises(UnavailableError):
        clients.ask("c", start=True)
    clients.table.give(held, clients.now_s)
    clients.ask("c", start=True)


def test_what_hangs_takes_no_room(clients: Clients) -> None:
    hanging = clients.ask("a", start=True, stay=True)
    clients.table.lose(hanging)
    assert len(clients.table) == 0
    clients.table.give(hanging, clients.now_s)
    assert len(clients.table) == 0
