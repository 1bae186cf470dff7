from __future__ import annotations

from edgemm.transport.backoff import Backoff
from edgemm_runtime.agent.spool.window import Window

RESEND = Backoff(30, 300)


def _unheard(times: int, *, draw: float) -> tuple[Window, list[float]]:
    """A window that began again so many times while nobody answered; and after how long each time, to the second."""
    window, now_s, waits = Window().connected(0).sent(1, 0), 0, list[float]()
    while len(waits) < times:
        now_s += 1
        again = window.checked(now_s, resend=RESEND, draw=draw)
        if again != window:
            waits.append(now_s - window.progress_s)
            window = again.sent(1, now_s)
    return window, waits


def test_sends_in_order_and_waits_for_answers() -> None:
    window = Window().connected(0).sent(1, 0).sent(2, 1)
    assert (window.position, window.outstanding) == (2, 2)
    assert window.acknowledged(1, 2, oldest=2).outstanding == 1


def test_begins_again_when_no_answer_came() -> None:
    window = Window().connected(0).sent(1, 5).sent(2, 20)
    assert window.checked(34.9, resend=RESEND, draw=0.5) == window
    assert window.checked(35, resend=RESEND, draw=0.5).position == 0


def test_an_answer_gives_the_rest_more_time() -> None:
    window = Window().connected(0).sent(1, 0).sent(2, 0).acknowledged(1, 29, oldest=2)
    assert window.checked(58, resend=RESEND, draw=0.5).position == 2
    assert window.checked(59, resend=RESEND, draw=0.5).position == 0


def test_answers_to_later_messages_do_not_make_an_earlier_one_wait_for_ever() -> None:
    window = Window().connected(0).sent(1, 0)
    for second in range(1, 30):
        window = window.sent(1 + second, second).acknowledged(1, second, oldest=1)
    assert window.checked(30, resend=RESEND, draw=0.5).position == 0


def test_nothing_outstanding_is_never_sent_again() -> None:
    window = Window().connected(0).sent(1, 0).acknowledged(1, 1, oldest=None)
    assert window.checked(1000, resend=RESEND, draw=0.5).position == 1


def test_a_reconnect_begins_again() -> None:
    assert Window(position=9, outstanding=3, oldest=7).connected(7) == Window(progress_s=7)


def test_while_nobody_answers_it_begins_again_less_and_less() -> None:
    assert _unheard(7, draw=0.5)[1] == [30, 45, 60, 90, 150, 180, 180]
    assert _unheard(7, draw=0.0)[1] == [30, 33, 36, 42, 54, 60, 60], "spread, and never sooner than the first time"


def test_any_answer_and_a_reconnect_end_the_pauses() -> None:
    window, _ = _unheard(5, draw=0.5)
    at_s = window.progress_s
    assert window.checked(at_s + 31, resend=RESEND, draw=0.5) == window
    for heard in (window.acknowledged(0, at_s, oldest=1), window.connected(at_s).sent(1, at_s)):
        assert heard.checked(at_s + 29, resend=RESEND, draw=0.5).outstanding == 1
        assert heard.checked(at_s + 30, resend=RESEND, draw=0.5).outstanding == 0
    assert window.acknowledged(1, at_s, oldest=2) == Window(1, 0, 2, at_s)
