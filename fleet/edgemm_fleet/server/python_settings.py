"""Python's own settings for a manager: its collector passes over what is there already; threads take short turns."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 0.001
"""How long a thread that computes keeps others waiting: the one that reads all requests waits often, and briefly."""
_ALLOCATIONS = 50_000
"""So many more objects there may be before those that refer to each other in a ring are looked for. Python's own 700
are there a dozen times in each batch of the ingest, and none of these is in a ring."""


def settle_python() -> None:
    """Make them; called once a manager has been made, and before it serves."""
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])
