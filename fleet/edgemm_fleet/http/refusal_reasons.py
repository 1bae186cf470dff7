"""The reasons for which the server refuses a request or gives up a client, as counters name them: a fixed list."""

from __future__ import annotations

from collections.abc import Mapping

from edgemm_fleet.http.endings import PeerEnding
from edgemm_fleet.http.lanes import Lane

_OTHER = "other"
_STATUSES = (400, 404, 408, 413, 415, 417, 431, 500, 501, 503, 504, 505)
REASONS = (
    *(f"full_{lane.value}" for lane in Lane),
    *(one.value for one in PeerEnding if one not in {PeerEnding.IDLE, PeerEnding.LINGERED}),
    *(f"refused_{status}" for status in _STATUSES),
    *("download_gave_way", "full_downloads", "full_memory", "gave_way", "no_descriptor", "no_place", _OTHER),
)


def by_reason(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how much there was of each reason; what is none of the list counts as another one."""
    found = dict.fromkeys(REASONS, 0)
    for reason, number in counts.items():
        found[reason if reason in found else _OTHER] += number
    return found
