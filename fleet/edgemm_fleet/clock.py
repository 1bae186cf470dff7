"""The check of the server's clock, which dates all that a fleet signs: by a wrong clock nothing is signed.

A device takes no time from its clock alone. But it would find a `desired` or a timestamp of 1970 expired, and it would
believe one of 2040 for years.
"""

from __future__ import annotations

from edgemm import times
from edgemm.errors import EnvironmentFailure


def check_clock(now: float) -> None:
    """Refuse to sign by a clock that shows a time before this release was made, or ten years after.

    Raises:
        EnvironmentFailure: the clock, in seconds since the Unix epoch, cannot be right.
    """
    if not times.plausible(now):
        first, last = times.BUILD_TIME_S, times.BUILD_TIME_S + times.PLAUSIBLE_S
        raise EnvironmentFailure(
            f"the clock of this machine shows {_shown(now)}: expected {_shown(first)} to {_shown(last)}, and what is "
            "signed with a wrong time is refused by devices; set the clock (timedatectl set-ntp true), then try again"
        )


def _shown(seconds: float) -> str:
    return times.to_text(seconds)[:10]
