"""The reasons for which a message of a device is not taken, as counters and the log name them."""

from __future__ import annotations

from enum import StrEnum

REFUSED = "refused_"
"""Before each reason, in the names of counters."""


class RefusedMessage(StrEnum):
    """Why a message of a device is not taken."""

    GARBAGE = "garbage"
    """It came by a topic that no device has."""
    IMPLAUSIBLE = "implausible"
    """It bears a number that no device counts up to."""
    MALFORMED = "malformed"
    QUARANTINED = "quarantined"
    """The device's key in the database cannot be read."""
    TOO_LARGE = "too_large"
    UNFORESEEN = "unforeseen"
    """A defect of edgemm: the log has it."""
    UNKNOWN_DEVICE = "unknown_device"
    UNTRUSTED = "untrusted"
