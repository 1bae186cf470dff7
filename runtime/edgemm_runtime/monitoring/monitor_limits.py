"""The limits on what monitoring costs a device, in one place."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class MonitorLimits:
    """Limits of the monitoring of one model."""

    requests_per_minute: int = 20
    """Requests of each model that the committee looks at; 0 for every one."""

    rows: int = 32
    """Rows of one request that are looked at, from the first on."""

    waiting_bytes: int = _MIB
    """Inputs and outputs of one model that wait at a time, in bytes; what is more is passed over and counted."""

    row_bytes: int = 4 * _MIB
    """The largest row of a request that is looked at where nothing else waits, in bytes."""

    window: int = 1000
    """Rows of which the accuracy is estimated: the newest ones."""
