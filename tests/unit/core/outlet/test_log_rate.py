"""No client fills the log: of each kind of line ten a minute are written, then how many more there were."""

from __future__ import annotations

import logging

from edgemm.outlet.log_rate import LogRate


class Written:
    """A handler's lines, and a clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now_s = 0.0
        self.rate = LogRate(lambda record: self.lines.append(record.getMessage()), now_s=lambda: self.now_s)

    def log(self, name: str, template: str, *arguments: object) -> None:
        record = logging.LogRecord(name, logging.ERROR, "x.py", 1, template, arguments, None)
        if self.rate.filter(record):
            self.lines.append(record.getMessage())


def test_ten_of_a_kind_are_written_and_the_rest_is_counted() -> None:
    written = Written()
    for number in range(500):
        written.log("a", "request failed path=%s", number)
    assert written.lines == [f"request failed path={number}" for number in range(10)]
    written.log("a", "another thing")
    written.log("b", "request failed path=%s", 1)
    assert written.lines[10:] == ["another thing", "request failed path=1"]
    written.now_s = 61.0
    written.log("a", "request failed path=%s", 500)
    assert written.lines[12:] == [
        "490 more such lines within 60 s, the last: request failed path=499",
        "request failed path=500",
    ]


def test_the_count_comes_without_another_line_of_that_kind() -> None:
    written = Written()
    for _ in range(12):
        written.log("a", "x")
    written.now_s = 60.0
    written.rate.flush(60.0)
    assert written.lines[10:] == ["2 more such lines within 60 s, the last: x"]


def test_many_kinds_take_no_memory() -> None:
    written = Written()
    for number in range(5000):
        written.log("a", f"kind {number}")
    assert len(written.rate._minutes) <= 1024
    assert len(written.lines) == 5000
