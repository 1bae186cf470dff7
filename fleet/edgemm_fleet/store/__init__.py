"""The store: the whole state of the fleet manager in one SQLite database.

    from edgemm_fleet.store import Store, devices

    store = Store.open(folder / "fleet.db")
    with store.read() as tx:
        device = devices.get(tx, "kitchen-3f2a")

Functions are grouped by noun, take an open transaction first, and hand out frozen records
(`edgemm_fleet.records`). Several of them in one write block happen together or not at all.
"""

from edgemm_fleet.store import (
    actions,
    assignments,
    audit,
    desired,
    devices,
    enrolment_tokens,
    models,
    person_tokens,
    reported,
    rollouts,
    shadows,
    streams,
)
from edgemm_fleet.store.database import Store, Transaction
from edgemm_fleet.store.migration import Migration

__all__ = [
    "Migration",
    "Store",
    "Transaction",
    "actions",
    "assignments",
    "audit",
    "desired",
    "devices",
    "enrolment_tokens",
    "models",
    "person_tokens",
    "reported",
    "rollouts",
    "shadows",
    "streams",
]
