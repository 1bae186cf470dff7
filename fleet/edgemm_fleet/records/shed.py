"""The record of what the manager threw away of a device that sent more than its share, or what no honest one does."""

from __future__ import annotations

from msgspec import Struct


class Shed(Struct, frozen=True, kw_only=True):
    """What one device lost since the manager's process started.

    Nothing of it was acknowledged, so that a device that waits for acknowledgements sends it again.
    """

    device: str
    messages: int = 0
    bytes: int = 0
    refused: int = 0
    """Messages that could not be read, or that another key signed."""
    first_at: float
    last_at: float
    cut_until: float | None = None
    """Until when it is not let in at the broker; None: it never was shut out."""
