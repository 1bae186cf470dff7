"""The reports of a batch that need not be checked: a later one of the same batch says all of them that counts. Pure.

A device that goes through an update tells each step by a report of all that it knows, and only the newest is judged.
To check a signature is most of what a message costs. So of the reports of one device the last is checked first; those
before it are passed over where they would have changed nothing beside it, whoever wrote them. What is believed is
always checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgemm.messages import Reported
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_fleet.ingest.reading import Incoming, Message, address_of

_SAME = ("fleet", "device", "boot", "boot_count", "generation", "actions", "desired_hash", "refused", "connection")
"""What else than the newest report is looked at for: all but the models, the engines and the device's clock."""


def needless(
    claimed: Sequence[tuple[str, Incoming]], check: Callable[[str, Incoming], Message | None]
) -> tuple[set[int], dict[int, Message]]:
    """Return the places of what is passed over, and the messages that were checked for it, by place.

    Args:
        claimed: messages with the device that each claims to be of, in the order in which they came.
        check: returns a message that its device signed, and None for any other.
    """
    passed_over, checked = set[int](), dict[int, Message]()
    for device, places in _several(claimed).items():
        last = check(device, claimed[places[-1]][1])
        if isinstance(last, Reported):
            checked[places[-1]] = last
            earlier = ((place, _claim(claimed[place][1])) for place in places[:-1])
            passed_over |= {place for place, claim in earlier if claim is not None and covers(last, claim)}
    return passed_over, checked


def covers(last: Reported, earlier: Reported) -> bool:
    """Tell whether a report makes one before it needless.

    The first of a start or connection says that the device has come; it is never passed over.
    """
    same = all(getattr(last, name) == getattr(earlier, name) for name in _SAME)
    return same and 1 < earlier.sequence < last.sequence


def _several(claimed: Sequence[tuple[str, Incoming]]) -> dict[str, list[int]]:
    """Return where the reports of devices are that have several, and about whose presence nothing else is told."""
    found, left_out = dict[str, list[int]](), set[str]()
    for place, (device, incoming) in enumerate(claimed):
        channel = address_of(incoming.topic).channel
        if channel is Channel.STATUS or incoming.retained:
            left_out.add(device)
        elif channel is Channel.REPORTED:
            found.setdefault(device, []).append(place)
    return {device: places for device, places in found.items() if len(places) > 1 and device not in left_out}


def _claim(incoming: Incoming) -> Reported | None:
    return signing.claimed(incoming.payload, PayloadType.REPORTED, Reported)
