"""The number of this start of a device, kept in `boot.json`."""

from __future__ import annotations

import logging

from edgemm.errors import EnvironmentFailure
from edgemm.messages import most_boots
from edgemm_runtime.agent.state.documents import BootFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import TimeKeeper

_log = logging.getLogger(__name__)
_LOST_COUNT_S = 86400
"""By how much a lost number of starts is taken to be ahead of the trusted time in seconds."""


def count_boot(folder: StateFolder, time: TimeKeeper) -> int:
    """Return the number of this start, durable before anything is said under it.

    It is above that of every start before, also where storage has lost that: it is no less than the trusted time in
    seconds, which rises faster than anybody restarts a device. Else the fleet would take what the device says for old.
    """
    kept, again = folder.read("boot.json", BootFile), time.known
    least = int(time.keep().seconds)
    if kept is not None and kept.count >= most_boots(least):
        kept = None  # damaged: the fleet believes no such number
    if kept is None and again:
        # The time may be what it was at the start before: a machine without a clock of its own comes up with that.
        least += _LOST_COUNT_S
    count = max(kept.count + 1 if kept else 1, least)
    try:
        folder.write("boot.json", BootFile(count=count))
    except EnvironmentFailure as err:
        _log.error("boot counter not kept error=%s", err)
    return count
