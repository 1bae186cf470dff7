"""The readmission of a device that enrols anew: nothing of what was said in its name before counts any more.

Whoever held its key may have reported numbers that its own never reach: of starts, reports, connections, generations,
sequences. So its presence, its newest report, its refusal and the positions of its streams are forgotten. What a broker
retains of it is passed over until it is heard itself. What is wanted of it stays, under a generation that only rises: a
`desired` that a broker retains is none that the device would have to take for newer.
"""

from __future__ import annotations

from edgemm_fleet.records.records import Device
from edgemm_fleet.store import Transaction, desired, devices, reported, streams


def readmit(tx: Transaction, device: Device, *, bearer_hash: str, broker_hash: str) -> None:
    """Let a device that is known by its id and key in again, as one that has said nothing yet."""
    reported.forget(tx, device.id)  # first: what the device is found by follows from its report
    devices.readmit(tx, device, bearer_hash=bearer_hash, broker_hash=broker_hash)
    desired.forget_answers(tx, device.id)
    streams.forget_positions(tx, device.id)
