"""The check of acknowledgements: keeps those that can be true. Pure.

For its present start, the device knows how far it sent. The fleet cannot have stored what was never sent, so an
acknowledgement of more is a mistake or a lie. For an earlier start the fleet may know more than this start does, and is
believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgemm.messages import Stream, StreamAck


def credible(acks: Iterable[StreamAck], *, boot: str, sent: Mapping[Stream, int]) -> tuple[StreamAck, ...]:
    """Return those that can be true; `sent` is the highest sequence that `boot`, this start, sent of each stream.

    Of a stream that is not known here nothing was ever sent.
    """
    known = [ack for ack in acks if ack.stream in sent]
    return tuple(ack for ack in known if ack.boot != boot or ack.sequence <= sent[ack.stream])
