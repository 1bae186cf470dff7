"""Which acknowledgements can be true. Pure.

Of this start the device knows how far it sent: the fleet cannot have stored what was never sent, and who says so has
mixed something up, or lies. Of an earlier start the fleet may know more than this one does, and is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgemm.messages import Stream, StreamAck


def credible(acks: Iterable[StreamAck], *, boot: str, sent: Mapping[Stream, int]) -> tuple[StreamAck, ...]:
    """Return those that can be true; `sent` is the highest sequence that `boot`, this start, sent of each stream."""
    return tuple(ack for ack in acks if ack.boot != boot or ack.sequence <= sent[ack.stream])
