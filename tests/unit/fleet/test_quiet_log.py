from __future__ import annotations

import logging

import pytest

from edgemm_fleet.quiet_log import QuietFilter, QuietLog


def test_a_peer_cannot_fill_the_log_and_what_is_left_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    peers = QuietLog(logging.getLogger("quiet"), most_of_one=2, most=4, monotonic=lambda: now[0])
    for number in range(10):
        peers.warning("bad", "refused number=%d", number)
    peers.warning("good", "refused number=%d", 99)
    now[0] = 61.0
    peers.warning("bad", "refused number=%d", 100)
    assert [record.getMessage() for record in caplog.records] == [
        "refused number=0",
        "refused number=1",
        "refused number=99 left_out=8",
        "refused number=100",
    ]


def test_a_library_says_so_much_a_minute() -> None:
    now = [0.0]
    quiet = QuietFilter(most=3, monotonic=lambda: now[0])
    record = logging.makeLogRecord({})
    assert [quiet.filter(record) for _ in range(5)] == [True, True, True, False, False]
    now[0] = 60.0
    assert quiet.filter(record)
