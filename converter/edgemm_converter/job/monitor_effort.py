"""The effort of a conversion to make a model one that can be monitored without labels (`--monitor`)."""

from __future__ import annotations

from enum import StrEnum


class MonitorEffort(StrEnum):
    """What `--monitor` takes."""

    QUICK = "quick"
    FULL = "full"
    OFF = "off"
