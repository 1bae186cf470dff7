"""One line a minute tells what was refused."""

from __future__ import annotations

from collections import Counter

import pytest

from edgemm_fleet.http.refusal_log import RefusalLog


def test_a_minute_has_one_line_with_what_is_new(caplog: pytest.LogCaptureFixture) -> None:
    log, counts = RefusalLog(), Counter[str]()
    log.look(counts, connections=1, now_s=0)
    for now_s in range(150):
        counts["slow_head"] += 2
        counts["full_people"] += now_s == 100
        log.look(counts, connections=7, now_s=now_s)
    assert [record.getMessage() for record in caplog.records] == [
        "http_refused connections=7 slow_head=2",
        "http_refused connections=7 slow_head=120",
        "http_refused connections=7 full_people=1 slow_head=120",
    ]
