"""The reporter of the device: numbers, signs, spools and sends its messages.

It is the shell around `reports`, `telemetry` and `window`. `pump` publishes `reported` when something changed, and
sends the messages that wait in the spool. Without a connection it does nothing, and nothing is lost.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.errors import MessageError
from edgemm.messages import (
    ActionResult,
    Event,
    RefusedDesired,
    Reported,
    ReportedClock,
    ReportedShadow,
    Stream,
    StreamAck,
    SystemGauges,
    encode_telemetry,
)
from edgemm.reasons import Reason
from edgemm.topics import Channel
from edgemm.transport.backoff import Backoff
from edgemm.trust import signing
from edgemm.trust.signing import PayloadType
from edgemm_runtime.agent.reporting import reported, telemetry
from edgemm_runtime.agent.reporting.sending import telemetry_payload
from edgemm_runtime.agent.reporting.shortening import shortened
from edgemm_runtime.agent.spool.acknowledgement import credible
from edgemm_runtime.agent.spool.spool import Spool, Spooled
from edgemm_runtime.agent.spool.window import Window
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.documents import ModelFile, Transition
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.state.trusted_time import TrustedTime

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The connection to the broker."""

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Hand a message to the broker; tells whether it was taken."""


@dataclass(frozen=True)
class Situation:
    """What a report tells."""

    records: tuple[ModelFile, ...]
    generation: int
    wanted: Collection[str]
    engines: dict[str, str]
    actions: tuple[ActionResult, ...]
    shadows: Mapping[str, ReportedShadow] = field(default_factory=dict)
    desired_hash: str | None = None
    refused: RefusedDesired | None = None
    clock: ReportedClock | UnsetType = UNSET
    connection: int | None = None
    """Number of the connection by which it is told, as the last will of that says."""


class Reporter:
    """Speaks for one boot of one device; safe to use from many threads."""

    def __init__(
        self,
        who: Speaker,
        signer: CryptoSigner,
        spool: Spool,
        *,
        now: Callable[[], TrustedTime],
        clock: Clock,
        limits: AgentLimits,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.who = who
        self._signer, self._spool, self._now, self._clock, self._limits = signer, spool, now, clock, limits
        self._resend, self._draw = Backoff(limits.resend_after_s, limits.backoff_max_s), draw
        self._lock = threading.Lock()
        self._begun_s = clock.monotonic()
        self._sequence = 0
        self._window = Window()
        self._sent = dict.fromkeys(Stream, 0)
        """The highest sequence of this boot that was handed to a broker."""
        self._changed = True

    def tell(self, name: str | None, told: Transition) -> bool:
        """Spool a transition of a model (None: of the agent) unless it was; tells whether the spool knows it now."""
        with self._lock:
            sequence = self._spool.next_sequence(Stream.EVENT)
            now, uptime = self._now(), self._clock.monotonic() - self._begun_s
            message = reported.event(self.who, name, told, sequence=sequence, now=now, uptime_s=uptime)
            body = msgspec.json.encode(message)
            if name is None:
                return self._spool.add(Stream.EVENT, body, sequence=sequence)
            source = f"models/{name}"
            return self._spool.add_once(Stream.EVENT, body, sequence=sequence, source=source, serial=told.serial)

    def last_serial(self, name: str) -> int:
        """Return the number of a model's last transition that was spooled; 0 where that cannot be known."""
        try:
            return self._spool.last_serial(f"models/{name}")
        except sqlite3.Error as err:
            _log.warning("spool cannot be read model=%s error=%s", name, err)
            return 0

    def note(self, cause: Reason, detail: str = "") -> None:
        """Spool an event of the agent itself."""
        self.tell(None, Transition(serial=1, cause=cause, detail=detail[:1000]))

    def measure(self, served: telemetry.Served, active: frozenset[tuple[str, str, str]], system: SystemGauges) -> None:
        """Spool one telemetry window."""
        with self._lock:
            sequence = self._spool.next_sequence(Stream.TELEMETRY)
            moment = telemetry.Moment(
                boot=self.who.boot,
                sequence=sequence,
                floor=1,
                time_s=self._now().seconds,
                uptime_s=self._clock.monotonic() - self._begun_s,
            )
            message = telemetry.window(moment, served, active=active, system=system, spool=self._spool.gauges())
            self._spool.add(Stream.TELEMETRY, encode_telemetry(message), sequence=sequence)

    def changed(self) -> None:
        """Note that `reported` is out of date."""
        self._changed = True

    def connected(self) -> None:
        """Begin again after a reconnect: the whole state, and everything that is not acknowledged."""
        with self._lock:
            self._window = self._window.connected(self._clock.monotonic())
        self._changed = True

    def acknowledge(self, acks: Iterable[StreamAck]) -> None:
        """Drop what the fleet has stored; what it cannot have stored stays."""
        said = tuple(acks)
        with self._lock:
            believed = credible(said, boot=self.who.boot, sent=self._sent)
        if believed != said:
            _log.warning("ack of what was never sent ignored acks=%s", [ack for ack in said if ack not in believed])
        if not believed:
            return
        dropped = self._spool.acknowledge(believed)
        with self._lock:
            held = self._spool.after(0, limit=1)
            oldest = held[0].id if held else None
            self._window = self._window.acknowledged(dropped, self._clock.monotonic(), oldest=oldest)

    def pump(self, link: Publisher, look: Callable[[], Situation]) -> None:
        """Write what is due and send what is to be said; `look` is called where the situation is to be told."""
        self._spool.write_due()
        if not link.connected:
            return
        if self._changed:
            # Cleared before the look: what changes from then on is told once more.
            self._changed = False
            said = False
            try:
                said = link.publish(Channel.REPORTED, self._reported(look()))
            finally:
                if not said:  # and never back to false: another thread may have set it just now
                    self._changed = True
        self._send_spooled(link)

    def _reported(self, situation: Situation) -> bytes:
        self._sequence += 1
        message = reported.reported(
            self.who,
            situation.records,
            wanted=situation.wanted,
            shadows=situation.shadows,
            sequence=self._sequence,
            generation=situation.generation,
            now=self._now(),
            engines=situation.engines,
            actions=situation.actions,
            desired_hash=situation.desired_hash,
            refused=situation.refused,
            clock=situation.clock,
            connection=situation.connection,
        )
        return self._seal_report(message)

    def _seal_report(self, message: Reported) -> bytes:
        try:
            return signing.seal(message, PayloadType.REPORTED, self._signer)
        except MessageError as err:
            short = shortened(message)
            _log.warning("reported shortened models=%d of=%d error=%s", len(short.models), len(message.models), err)
            return signing.seal(short, PayloadType.REPORTED, self._signer)

    def _send_spooled(self, link: Publisher) -> None:
        with self._lock:
            now = self._clock.monotonic()
            window = self._window.checked(now, resend=self._resend, draw=self._draw())
            room = self._limits.in_flight_messages - window.outstanding
            for waiting, payload in self._sendable(window.position, max(0, room)):
                if waiting.boot == self.who.boot:  # noted first: what was not taken may have been sent all the same
                    self._sent[waiting.stream] = max(self._sent[waiting.stream], waiting.sequence)
                if not link.publish(Channel(waiting.stream.value), payload):
                    break
                window = window.sent(waiting.id, now)
            self._window = window

    def _sendable(self, position: int, room: int) -> list[tuple[Spooled, bytes]]:
        """Return what comes next; what cannot be sent is given up, or the fleet would wait for it for ever."""
        while True:
            found, bad, cause = list[tuple[Spooled, bytes]](), list[Spooled](), ""
            for waiting in self._spool.after(position, limit=room):
                try:
                    found.append((waiting, self._payload(waiting)))
                except MessageError as err:
                    bad.append(waiting)
                    cause = cause or str(err)
            if not bad or not (count := self._spool.give_up(bad)):
                return found
            _log.error("spooled messages dropped, for they cannot be sent messages=%d error=%s", count, cause)
            # Read again: the floors of what comes after them are others now.

    def _payload(self, waiting: Spooled) -> bytes:
        """Return a spooled message as it is sent now, with today's floor.

        Raises:
            MessageError: it cannot be read, it is too large, or it is another one than its row says.
        """
        if waiting.stream is Stream.TELEMETRY:
            return telemetry_payload(waiting)
        event = _read_event(waiting)
        if (event.boot, event.sequence) != (waiting.boot, waiting.sequence):
            raise MessageError(
                f"spooled message {waiting.id}: expected {waiting.boot} {waiting.sequence} in it, "
                f"found {event.boot} {event.sequence}"
            )
        return signing.seal(replace(event, floor=waiting.floor), PayloadType.EVENT, self._signer)


def _read_event(waiting: Spooled) -> Event:
    try:
        return msgspec.json.decode(waiting.body, type=Event)
    except (ValueError, RecursionError) as err:  # of msgspec, and of Unicode
        raise MessageError(f"spooled message {waiting.id} of {waiting.stream.value}: {err}") from err
