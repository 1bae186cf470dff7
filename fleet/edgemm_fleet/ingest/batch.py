"""The processing of a batch of messages: they are checked, stored and acted on in one transaction.

The caller acknowledges them when the batch is durable. Storing is idempotent, so a batch may be given again after a
failure, and devices may send everything twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from securesystemslib.signer import Key

from edgemm.errors import MessageError, TrustError
from edgemm.messages import Ack, Event, Reported, Status, Stream, StreamAck, Telemetry
from edgemm.trust import signing
from edgemm_fleet.director.answering import Answering
from edgemm_fleet.director.director import Director
from edgemm_fleet.ingest.contiguity import contiguous
from edgemm_fleet.ingest.ingest_counters import IngestCounters
from edgemm_fleet.ingest.presence import observe
from edgemm_fleet.ingest.reading import Heard, Incoming, read
from edgemm_fleet.ingest.shedding import Misdeed, Shedding
from edgemm_fleet.quiet_log import QuietLog
from edgemm_fleet.records.records import Device
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, Transaction, actions, devices, reported, streams

_MAX_ACKS = 64
_log = logging.getLogger(__name__)


@dataclass
class _Numbers:
    """What one boot's stream brought in this batch."""

    sequences: set[int] = field(default_factory=set)
    floor: int = 1


class Ingest:
    """Stores batches of messages of one fleet."""

    def __init__(
        self,
        store: Store,
        *,
        fleet: str,
        director: Director,
        runner: Runner,
        order: Callable[[list[str]], None] = lambda _: None,
        shedding: Shedding | None = None,
    ) -> None:
        self._store, self._fleet, self._director, self._runner, self._order = store, fleet, director, runner, order
        self._answering = Answering(director)
        self._keys: dict[str, Key] = {}
        self._quiet = QuietLog(_log)
        self.shedding = shedding or Shedding()
        self.counters = IngestCounters()

    def process(self, batch: Sequence[Incoming], *, now: float) -> dict[str, tuple[Ack, ...]]:
        """Store a batch and let rollouts react; return the acks to send, by device.

        Raises:
            EnvironmentFailure: it could not be stored; nothing of it was, and it may be given again.
        """
        with self._store.write() as tx:
            messages = self._read(tx, batch)
            self._statuses(tx, messages, now=now)
            changed = self._reports(tx, messages, now=now) | self._answers(tx, messages, now=now)
            if changed:
                self._runner.react(tx, sorted(changed), now=now)
            acks = self._streams(tx, messages, now=now)
            devices.seen(tx, {heard.device for heard in messages}, now=now)
            ordered = list(actions.ordered(tx, sorted({device for device, _ in _of(messages, Reported)})))
        if ordered:
            self._order(ordered)  # after the commit: an order names the start that was reported
        return acks

    def _read(self, tx: Transaction, batch: Sequence[Incoming]) -> list[Heard]:
        claimed = [(self._claimed(incoming), incoming) for incoming in batch if incoming.payload]
        known = devices.live(tx, {device for device, _ in claimed if device})
        messages = []
        for device, incoming in claimed:
            if device is None:
                continue
            if device not in known:
                self._refuse("unknown_device", device, "not enrolled here")
                continue
            try:
                message = read(incoming, fleet=self._fleet, device=device, key=self._key(known[device]))
            except MessageError as err:
                self._refuse("malformed", device, str(err))
            except TrustError as err:
                self._refuse("untrusted", device, str(err))
            else:
                self.counters.add(f"received_{type(message).__name__.lower()}")
                messages.append(Heard(device, message, incoming.payload))
        return messages

    def _claimed(self, incoming: Incoming) -> str | None:
        try:
            return incoming.device(self._fleet)
        except MessageError as err:
            self._refuse("malformed", None, str(err))
            return None

    def _refuse(self, why: str, device: str | None, detail: str) -> None:
        self.counters.add(f"refused_{why}")
        self._quiet.warning(device or "", "ingest_refused why=%s device=%s detail=%r", why, device, detail)
        if device is not None:
            self.shedding.note(device, Misdeed.REFUSED)

    def _key(self, device: Device) -> Key:
        if device.key_id not in self._keys:
            self._keys[device.key_id] = signing.key_from_document(device.key)
        return self._keys[device.key_id]

    def _statuses(self, tx: Transaction, messages: Sequence[Heard], *, now: float) -> None:
        for device, status in _of(messages, Status):
            before = devices.get(tx, device).presence
            after = observe(before, status, now=now)
            if after is before:
                continue
            devices.set_presence(tx, device, after)
            if after.duplicate_at != before.duplicate_at:
                _log.warning("duplicate_identity device=%s boots=%s,%s", device, after.boot, status.boot)
            elif status.online:
                self._answering.heard(tx, device, now=now, connected=True)

    def _reports(self, tx: Transaction, messages: Sequence[Heard], *, now: float) -> set[str]:
        """Keep the reports; return the devices of which one was new."""
        changed = set()
        for device, report in _of(messages, Reported):
            if reported.put(tx, report, now=now):
                changed.add(device)
                finished = [actions.finish(tx, device, result, now=now) for result in report.actions]
                if any(finished):
                    self._director.write(tx, [device], now=now)
        return changed

    def _answers(self, tx: Transaction, messages: Sequence[Heard], *, now: float) -> set[str]:
        """Answer what devices say that they act on; return those that refuse what they are told, or no longer do."""
        told = {device for device, _ in _of(messages, Reported)}
        changed = {device for device in told if self._answering.heard(tx, device, now=now)}
        return changed | {
            device for device, event in _of(messages, Event) if self._answering.refused(tx, event, now=now)
        }

    def _streams(self, tx: Transaction, messages: Sequence[Heard], *, now: float) -> dict[str, tuple[Ack, ...]]:
        streams.add_events(tx, [event for _, event in _of(messages, Event)], now=now)
        windows = [(one.device, one.message, one.payload) for one in messages if isinstance(one.message, Telemetry)]
        streams.add_telemetry(tx, windows, now=now)
        found: dict[tuple[str, str, Stream], _Numbers] = {}
        for device, message, _ in messages:
            match message:
                case Event():
                    key = (device, message.boot, Stream.EVENT)
                case Telemetry():
                    key = (device, message.boot.hex(), Stream.TELEMETRY)
                case _:
                    continue
            numbers = found.setdefault(key, _Numbers())
            numbers.sequences.add(message.sequence)
            numbers.floor = max(numbers.floor, message.floor)
        acks: dict[str, list[StreamAck]] = {}
        for (device, boot, stream), numbers in found.items():
            position = _advance(tx, device, boot, stream, numbers)
            acks.setdefault(device, []).append(StreamAck(boot=boot, stream=stream, sequence=position))
        return {device: _acks(items) for device, items in acks.items()}


def _advance(tx: Transaction, device: str, boot: str, stream: Stream, numbers: _Numbers) -> int:
    before, highest = streams.position(tx, device, boot, stream)
    new_highest = max(highest, *numbers.sequences)
    if highest <= before:
        stored = sorted(numbers.sequences)  # nothing waits above the position: what is there came just now
    else:
        stored = streams.sequences_above(tx, device, boot, stream, above=before)
    position = contiguous(before, floor=numbers.floor, stored=stored)
    if (position, new_highest) != (before, highest):
        streams.set_position(tx, device, boot, stream, contiguous=position, highest=new_highest)
    return position


def _acks(items: list[StreamAck]) -> tuple[Ack, ...]:
    return tuple(Ack(acks=tuple(items[i : i + _MAX_ACKS])) for i in range(0, len(items), _MAX_ACKS))


def _of(messages: Sequence[Heard], kind: type[Any]) -> list[tuple[str, Any]]:
    return [(one.device, one.message) for one in messages if isinstance(one.message, kind)]
