"""How much a conversion tries to monitor a model without labels (`--monitor`)."""

from __future__ import annotations

from enum import StrEnum


class MonitorEffort(StrEnum):
    """What `--monitor` takes."""

    QUICK = "quick"
    FULL = "full"
    OFF = "off"
