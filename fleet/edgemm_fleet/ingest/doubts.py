"""The settling of doubts about devices' presence: each is asked, and one that does not answer is offline.

Asking is to send the `desired` that the device knows once more: it answers with a signed report, which ends the doubt
(`edgemm_fleet.ingest.presence`). A device of which nothing was ever wanted cannot be asked, and is taken for offline
until it reports by itself, as it does whenever it connects.
"""

from __future__ import annotations

from edgemm_fleet.ingest.presence import unanswered
from edgemm_fleet.store import Transaction, desired, devices

_ASK_AFTER_S = 3.0
"""A device that connects reports by itself, a moment after its status."""
_ASK_AGAIN_AFTER_S = 30.0
_GIVE_UP_AFTER_S = 60.0
_AT_ONCE = 500


def settle(tx: Transaction, *, now: float) -> None:
    """Have those in doubt asked, and take those for offline that did not answer."""
    told_before = now - _ASK_AGAIN_AFTER_S
    for device in devices.silent_in_doubt(
        tx, doubted_before=now - _GIVE_UP_AFTER_S, told_before=told_before, limit=_AT_ONCE
    ):
        devices.set_presence(tx, device.id, unanswered(device.presence), before=device.presence)
    desired.ask_doubted(tx, doubted_before=now - _ASK_AFTER_S, sent_before=told_before)
