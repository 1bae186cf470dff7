"""Interpreters are made as needed, taken turns with, and replaced when a thread hangs in one."""

from __future__ import annotations

import threading

import pytest

from edgemm.errors import EngineError, UnavailableError
from edgemm_runtime.engines.pool import Pool


def numbered(size: int, **options: float) -> Pool[int]:
    made = iter(range(1, 100))
    return Pool(0, lambda: next(made), size=size, **options)


def test_one_user_always_has_the_same_member() -> None:
    pool = numbered(4)
    for _ in range(5):
        member = pool.take()
        assert member == 0
        pool.give(member)
    assert pool.made == 1


def test_members_are_made_up_to_the_size_and_then_waited_for() -> None:
    pool = numbered(2, wait_s=0.01)
    assert {pool.take(), pool.take()} == {0, 1}
    with pytest.raises(UnavailableError, match="busy"):
        pool.take()
    assert pool.made == 2


def test_a_member_that_comes_back_goes_to_who_waits() -> None:
    pool, got = numbered(1), []
    member = pool.take()
    waiting = threading.Thread(target=lambda: got.append(pool.take()))
    waiting.start()
    pool.give(member)
    waiting.join(60)
    assert got == [0]


def test_what_hangs_is_replaced_and_not_taken_back() -> None:
    pool, hanging, leave = numbered(1, wait_s=0.01), threading.Event(), threading.Event()

    def hang() -> None:
        member = pool.take()
        hanging.set()
        leave.wait(60)
        pool.give(member)

    thread = threading.Thread(target=hang)
    thread.start()
    assert hanging.wait(60)
    assert thread.ident is not None
    pool.give_up(thread.ident)
    assert pool.take() == 1
    leave.set()
    thread.join(60)
    with pytest.raises(UnavailableError):
        pool.take()


def test_no_room_for_another_member_is_no_failure_while_there_is_one() -> None:
    def refuse() -> int:
        raise EngineError("no memory")

    pool, got = Pool(0, refuse, size=3), []
    member = pool.take()
    waiting = threading.Thread(target=lambda: got.append(pool.take()))
    waiting.start()
    pool.give(member)
    waiting.join(60)
    assert got == [0]


def test_with_no_member_left_the_failure_is_told() -> None:
    def refuse() -> int:
        raise EngineError("no memory")

    pool = Pool(0, refuse, size=1)
    pool.take()
    pool.give_up(threading.get_ident())
    with pytest.raises(EngineError, match="no memory"):
        pool.take()
