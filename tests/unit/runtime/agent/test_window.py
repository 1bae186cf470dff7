from __future__ import annotations

from edgemm_runtime.agent.window import Window


def test_sends_in_order_and_waits_for_answers() -> None:
    window = Window().connected(0).sent(1, 0).sent(2, 1)
    assert (window.position, window.outstanding) == (2, 2)
    assert window.acknowledged(1, 2, oldest=2).outstanding == 1


def test_begins_again_when_no_answer_came() -> None:
    window = Window().connected(0).sent(1, 5).sent(2, 20)
    assert window.checked(34.9, resend_after_s=30) == window
    assert window.checked(35, resend_after_s=30).position == 0


def test_an_answer_gives_the_rest_more_time() -> None:
    window = Window().connected(0).sent(1, 0).sent(2, 0).acknowledged(1, 29, oldest=2)
    assert window.checked(58, resend_after_s=30).position == 2
    assert window.checked(59, resend_after_s=30).position == 0


def test_answers_to_later_messages_do_not_make_an_earlier_one_wait_for_ever() -> None:
    window = Window().connected(0).sent(1, 0)
    for second in range(1, 30):
        window = window.sent(1 + second, second).acknowledged(1, second, oldest=1)
    assert window.checked(30, resend_after_s=30).position == 0


def test_nothing_outstanding_is_never_sent_again() -> None:
    window = Window().connected(0).sent(1, 0).acknowledged(1, 1, oldest=None)
    assert window.checked(1000, resend_after_s=30).position == 1


def test_a_reconnect_begins_again() -> None:
    assert Window(position=9, outstanding=3, oldest=7).connected(7) == Window(progress_s=7)
