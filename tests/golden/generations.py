"""Generations: the number that follows what was told and reported at a time, with a nonce; and what is echoed."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from edgemm import messages, times
from edgemm.messages import Desired, RefusedDesired, Reported
from edgemm.messages.generations import CEILING, acceptable, next_generation, of_time, plausible
from tests.golden.vector import Vector
from tests.golden.wire import DESIRED, REPORTED

NOW_S = times.from_text("2027-01-01T00:00:00Z")
MADE = next_generation(last=7, reported=9, now_s=NOW_S, nonce=5)
LATER_DESIRED = replace(DESIRED, generation=MADE, not_before="2026-12-31T23:00:00Z", expires="2027-01-08T00:00:00Z")
ECHOED = replace(
    REPORTED,
    generation=MADE,
    desired_hash=LATER_DESIRED.content_hash(),
    refused=RefusedDesired(cause="desired_expired", generation=MADE + 1024, detail=""),
)
_YEAR_S = 366 * 86400
_ASKED = [
    # last, reported, milliseconds of the clock after NOW_S, nonce
    (0, 0, 0, 0),
    (0, 0, 0, 1023),
    (7, 9, 0, 5),
    (2**31, 0, 0, 5),
    (MADE, 0, 0, 5),
    (MADE, 0, 0, 6),
    (MADE, 0, 0, 4),
    (MADE, MADE, -60_000, 5),
    (MADE, of_time(NOW_S + 400 * 86400), 1, 5),
    (MADE, 2**53 - 1, 1, 5),
    (MADE, 2**52, 1, 5),
    (2**53 - 1, 2**53 - 1, 1, 5),
    (CEILING, 0, 1, 5),
    (MADE, of_time(NOW_S + 9 * _YEAR_S), 1, 5),
    (MADE, of_time(NOW_S + 11 * _YEAR_S), 1, 5),
    (of_time(NOW_S + 11 * _YEAR_S), 0, 1, 5),
    (of_time(NOW_S + 25 * _YEAR_S), of_time(NOW_S + 25 * _YEAR_S), 1, 5),
]


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "last": last,
            "reported": reported,
            "now_ms": NOW_S * 1000 + after_ms,
            "nonce": nonce,
            "believed": plausible(reported, last=last, now_s=NOW_S + after_ms / 1000),
            "taken_by_a_device": acceptable(reported, now_s=NOW_S + after_ms / 1000),
            "generation": next_generation(last=last, reported=reported, now_s=NOW_S + after_ms / 1000, nonce=nonce),
        }
        for last, reported, after_ms, nonce in _ASKED
    ]


def _write(rows: list[dict[str, Any]]) -> bytes:
    return (json.dumps(rows, indent=1) + "\n").encode()


VECTORS = [
    Vector("generations/numbers.json", _rows(), _write, json.loads),
    Vector(
        "generations/desired.json",
        LATER_DESIRED,
        messages.encode_control,
        lambda data: messages.decode_control(data, Desired),
    ),
    Vector(
        "generations/reported.json",
        ECHOED,
        messages.encode_control,
        lambda data: messages.decode_control(data, Reported),
    ),
]
