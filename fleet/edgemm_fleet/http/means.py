"""The means that the parts of the server share: its loop, limits, lanes, memory and counts."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from edgemm_fleet.http.held_memory import HeldMemory
from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.lanes import LaneThreads
from edgemm_fleet.http.reactor import Reactor


class Means(NamedTuple):
    """Of one server; memory and counts belong to the loop's thread."""

    reactor: Reactor
    limits: HttpLimits
    lanes: LaneThreads
    memory: HeldMemory
    counts: Counter[str]
    """What was refused or given up, by why."""
