"""A log of events as JSON: names, typed fields, and nothing that a value could add."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from edgemm.outlet.log_events import event_name
from edgemm.outlet.log_lines import JsonLine


def logged(message: str, *args: object, level: int = logging.WARNING, exc_info: Any = None) -> dict[str, Any]:
    record = logging.LogRecord("edgemm_fleet.x", level, __file__, 1, message, args, exc_info)
    line = JsonLine().format(record)
    assert "\n" not in line
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def test_fields_are_the_values_that_were_passed() -> None:
    found = logged("device_cut_off device=%s for_s=%.0f ok=%s n=%d why=too_large; it floods", "cam-1", 10.26, True, 3)
    assert found["event"] == "device_cut_off"
    assert found["fields"] == {"device": "cam-1", "for_s": 10.26, "ok": True, "n": 3, "why": "too_large"}
    assert found["text"] == "device_cut_off device=cam-1 for_s=10 ok=True n=3 why=too_large; it floods"
    assert (found["level"], found["logger"]) == ("warning", "edgemm_fleet.x")
    assert found["at"].endswith("Z")


def test_values_within_words_are_passed_over_and_several_in_one_field_are_joined() -> None:
    found = logged("clock leapt %s by=%s; believed in %.0f s", "ahead", "3 h", 60.0)
    assert (found["event"], found["fields"]) == ("clock_leapt", {"by": "3 h"})
    assert logged("two boots=%s,%s last=%d", "a", "b", 7)["fields"] == {"boots": "a,b", "last": 7}
    assert logged("full part=100%% n=%d", 1)["fields"] == {"part": "100%%", "n": 1}


@pytest.mark.parametrize("evil", ["x level=error event=y", 'x", "event": "y', "x\n{}", "\u202e\x1b[2J", "x" * 10**6])
def test_a_value_adds_no_field_and_no_line(evil: str) -> None:
    found = logged("ingest_refused device=%s why=%s", evil, "malformed")
    assert found["event"] == "ingest_refused"
    assert found["fields"].keys() == {"device", "why"}
    assert found["fields"]["why"] == "malformed"
    assert len(json.dumps(found)) < 30_000


def test_a_traceback_is_a_field_of_its_own_and_bounded() -> None:
    try:
        int("y" * 100_000)
    except ValueError:
        found = logged("worker_failed worker=%s", "edgemm-clock", exc_info=sys.exc_info())
    assert "Traceback" in found["traceback"]
    assert len(found["traceback"]) <= 16_000


def test_numbers_that_json_does_not_have_are_text() -> None:
    assert logged("x_y a=%f b=%s", float("nan"), float("inf"))["fields"] == {"a": "nan", "b": "inf"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("device_cut_off device=%s", "device_cut_off"),
        ("broker_gone; goes on trying", "broker_gone"),
        ("certificate not renewed error=%s", "certificate_not_renewed"),
        ("Closing connection to %s", "closing_connection_to"),
        ("%s", "message"),
        ("", "message"),
        ("a b c d e f g h i", "a_b_c_d_e_f"),
    ],
)
def test_an_event_is_called_by_its_first_words(template: str, name: str) -> None:
    assert event_name(template) == name
