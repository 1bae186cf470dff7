"""A device without an engine: it says what a real one says, in the production messages, and does what it is told to.

`SimulatedDevice` is the behaviour alone: messages in, messages out, no thread or socket, so that thousands fit in one
process. `MqttDevice` carries one over a real broker.

    device = SimulatedDevice("lab", "cam-1", signer=signer, director=[director_key])
    device.outcomes[digest] = Outcome.SELFTEST_FAILED
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import UNSET
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from securesystemslib.signer import CryptoSigner, Key

from edgemm import times, topics
from edgemm.errors import TrustError
from edgemm.messages import (
    Ack,
    ActionOrder,
    ActionResult,
    Desired,
    DesiredModel,
    Event,
    ModelCounters,
    RefusedDesired,
    Reported,
    ReportedModel,
    SpoolGauges,
    Status,
    Stream,
    StreamAck,
    Telemetry,
    decode_control,
    encode_control,
    encode_telemetry,
)
from edgemm.messages.generations import acceptable
from edgemm.reasons import Reason
from edgemm.states import BEFORE_ACTIVATION, FAILURES, UpdateState
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm.trust.enrolment import BrokerAccess
from edgemm.trust.signing import PayloadType
from simulators import mqtt_clients

_U = UpdateState


class Outcome(Enum):
    """How an update of a simulated device ends; the value is (the states it goes through, the last one's reason)."""

    COMMIT = (
        (_U.ACCEPTED, _U.DOWNLOADING, _U.VERIFIED, _U.STAGED, _U.ACTIVATING, _U.PROBATION, _U.COMMITTED),
        None,
    )
    SELFTEST_FAILED = ((_U.ACCEPTED, _U.DOWNLOADING, _U.VERIFIED, _U.FAILED), "selftest_failed")
    NO_SPACE = ((_U.ACCEPTED, _U.REJECTED), "no_space")
    DAMAGED = ((_U.ACCEPTED, _U.DOWNLOADING, _U.REJECTED), "damaged")
    ERRORS = (
        (
            _U.ACCEPTED,
            _U.DOWNLOADING,
            _U.VERIFIED,
            _U.STAGED,
            _U.ACTIVATING,
            _U.PROBATION,
            _U.ROLLING_BACK,
            _U.ROLLED_BACK,
        ),
        "errors",
    )
    HANG = ((_U.ACCEPTED, _U.DOWNLOADING, _U.VERIFIED, _U.STAGED, _U.ACTIVATING), None)
    SLOW_DOWNLOAD = ((_U.ACCEPTED, _U.DOWNLOADING), None)


@dataclass(frozen=True)
class Outgoing:
    """One message that a device publishes."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass
class _Installed:
    digest: str
    version: str


@dataclass
class SimulatedDevice:
    """One device; `installs` lists every (digest, attempt) that it ever put to work."""

    fleet: str
    id: str
    signer: CryptoSigner
    director: Sequence[Key]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    default: Outcome = Outcome.COMMIT
    detail: str | None = None
    """What it says of each failure."""
    action_faults: dict[str, str] = field(default_factory=dict)
    """What it says of actions of a kind that fail here; the others succeed."""
    silent: bool = False
    old: bool = False
    """Whether it is of a version that echoes no hash, tells refusals by events alone and takes every generation."""
    refuses: str | None = None
    """The cause for which it refuses every new generation."""
    refused: RefusedDesired | None = None
    insistent: bool = False
    """Whether it tells the same refusal each time, as devices did before they remembered it."""
    tells_connection: bool = True
    """False: it reports as a device of an earlier version does."""
    now: float = 1_800_000_000.0
    generation: int = 0
    connection: int = 0
    boot_count: int = 0
    boot: str = ""
    installs: list[tuple[str, int]] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    active: dict[str, _Installed] = field(default_factory=dict)
    reported: dict[str, ReportedModel] = field(default_factory=dict)
    _desired: Desired | None = None
    _sequence: int = 0
    _numbers: dict[Stream, int] = field(default_factory=dict)
    _spool: dict[tuple[Stream, int], Event | Telemetry] = field(default_factory=dict)
    _failed: set[tuple[str, str, int]] = field(default_factory=set)
    _results: list[ActionResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new boot, as after a loss of power."""
        self.boot_count += 1
        self.boot = hashlib.sha256(f"{self.id}:{self.boot_count}".encode()).hexdigest()[:16]
        self.connection = self._sequence = 0
        self._numbers = {Stream.EVENT: 0, Stream.TELEMETRY: 0}

    def will(self) -> Outgoing:
        """Return the last will of the connection that is about to be made."""
        return self._status(online=False, connection=self.connection + 1)

    def connect(self) -> list[Outgoing]:
        """Return what is published after a CONNACK: status, report, and what is not acknowledged."""
        self.connection += 1
        if self.silent:
            return []
        return [self._status(online=True, connection=self.connection), self.report(), *self.unacknowledged()]

    def receive(self, topic: str, payload: bytes) -> list[Outgoing]:
        """Take a message; return what is published because of it, in order."""
        if self.silent:
            return []
        match topics.parse(topic).channel:
            case Channel.ACK:
                for ack in decode_control(payload, Ack).acks:
                    self._drop(ack)
                return []
            case Channel.DESIRED:
                return self._judge(payload)
            case Channel.ACTION:
                return self._do(signing.unseal(payload, PayloadType.ACTION, ActionOrder, keys=self.director))
            case other:
                raise AssertionError(f"{self.id} received {other}")

    def report(self, *, engines: Mapping[str, str] = MappingProxyType({"tflite": "2.3.0"})) -> Outgoing:
        """Return a `reported` message of the present state."""
        self._sequence += 1
        message = Reported(
            fleet=self.fleet,
            device=self.id,
            boot=self.boot,
            boot_count=self.boot_count,
            sequence=self._sequence,
            time=times.to_text(self.now),
            clock_synced=True,
            generation=self.generation,
            runtime="0.1.0",
            engines=dict(engines),
            models=tuple(self.reported[name] for name in sorted(self.reported)),
            actions=tuple(self._results),
            desired_hash=UNSET if self._desired is None or self.old else self._desired.content_hash(),
            refused=UNSET if self.refused is None or self.old else self.refused,
            connection=max(1, self.connection) if self.tells_connection else UNSET,
        )
        return self._publish(Channel.REPORTED, signing.seal(message, PayloadType.REPORTED, self.signer))

    def unacknowledged(self) -> list[Outgoing]:
        """Return everything that no ack has covered, in order."""
        return [self._spooled(item) for item in list(self._spool.values())]

    def measure(self, requests: int = 10) -> Outgoing:
        """Return one more telemetry window."""
        counters = tuple(
            ModelCounters(
                name=name,
                digest=bytes.fromhex(model.digest),
                variant="tflite:float32",
                requests=requests,
                errors=0,
                latency_sum_us=requests * 100,
                latency_counts=(0, 0, requests),
            )
            for name, model in sorted(self.active.items())
        )
        window = Telemetry(
            boot=bytes.fromhex(self.boot),
            sequence=self._next(Stream.TELEMETRY),
            floor=1,
            time_s=int(self.now),
            uptime_s=60,
            models=counters,
            spool=SpoolGauges(waiting=len(self._spool), dropped=0),
        )
        self._spool[Stream.TELEMETRY, window.sequence] = window
        return self._spooled(window)

    def _judge(self, payload: bytes) -> list[Outgoing]:
        try:
            wanted = signing.unseal(payload, PayloadType.DESIRED, Desired, keys=self.director)
        except TrustError as err:
            generation = signing.claimed_generation(payload)
            if self.refused is not None and self.refused.cause == Reason.DESIRED_UNTRUSTED:
                return []  # of what nobody signed, a device tells once in a while
            return self._refuse(
                RefusedDesired(cause=Reason.DESIRED_UNTRUSTED, generation=generation, detail=str(err)[:1000])
            )
        return self._obey(wanted)

    def _obey(self, wanted: Desired) -> list[Outgoing]:
        assert wanted.device == self.id, f"{self.id} was sent the desired of {wanted.device}"
        if wanted.generation < self.generation:
            return []
        if wanted.generation == self.generation:
            if self._desired is not None and wanted.content() != self._desired.content():
                return self._refuse(RefusedDesired(cause="desired_conflict", generation=wanted.generation))
            self._desired, self.refused = wanted, None
            return [self.report()]
        if not self.old and not acceptable(wanted.generation, now_s=self.now):
            return self._refuse(RefusedDesired(cause="desired_implausible", generation=wanted.generation))
        if self.refuses is not None:
            return self._refuse(RefusedDesired(cause=self.refuses, generation=wanted.generation))
        self.generation, self._desired, self.refused = wanted.generation, wanted, None
        self.generations.append(wanted.generation)
        for name in set(self.reported) - {model.name for model in wanted.models}:
            self.reported.pop(name)
            self.active.pop(name, None)
        self._results = [
            ActionResult(id=one.id, ok=one.kind not in self.action_faults, detail=self.action_faults.get(one.kind, ""))
            for one in wanted.actions
        ]
        sent = [self.report(), *self._cancel_others(wanted)]
        for model in wanted.models:
            sent += self._update(model)
        return sent

    def _refuse(self, refused: RefusedDesired) -> list[Outgoing]:
        """Tell a refusal: in each report, and in an event as earlier versions do."""
        known, self.refused = self.refused, refused
        if known == refused and not self.insistent:
            return []
        return [self._event(refused.cause), self.report()]

    def _do(self, order: ActionOrder) -> list[Outgoing]:
        """Do what came in a message of its own, once; one for another start is ignored."""
        assert order.device == self.id, f"{self.id} was sent the order of {order.device}"
        if order.boot != self.boot or order.action.id in {result.id for result in self._results}:
            return []
        fault = self.action_faults.get(order.action.kind)
        self._results.append(ActionResult(id=order.action.id, ok=fault is None, detail=fault or ""))
        return [self.report()]

    def _cancel_others(self, wanted: Desired) -> list[Outgoing]:
        """End updates that are no longer wanted and have not begun to activate."""
        sent = []
        for model in wanted.models:
            entry = self.reported.get(model.name)
            other = entry is not None and (entry.digest, entry.attempt) != (model.digest, model.attempt)
            if entry is not None and other and entry.state in BEFORE_ACTIVATION:
                self.reported[model.name] = replace(entry, state=_U.CANCELED, reason="superseded")
                sent.append(self.report())
        return sent

    def _update(self, model: DesiredModel) -> list[Outgoing]:
        active = self.active.get(model.name)
        if active is not None and active.digest == model.digest:
            self._enter(model, _U.COMMITTED, reason=None)
            return [self.report()]
        if (model.name, model.digest, model.attempt) in self._failed:
            return []
        states, reason = self.outcomes.get(model.digest, self.default).value
        sent = []
        for state in states:
            before = self.reported[model.name].state if model.name in self.reported else None
            self._enter(model, state, reason=reason if state is states[-1] else None)
            sent += [self._transition(model, before, state), self.report()]
        return sent

    def _enter(self, model: DesiredModel, state: UpdateState, *, reason: str | None) -> None:
        if state is _U.ACTIVATING:
            self.installs.append((model.digest, model.attempt))
        if state is _U.COMMITTED:
            self.active[model.name] = _Installed(model.digest, model.version)
        if state in FAILURES:
            self._failed.add((model.name, model.digest, model.attempt))
        active = self.active.get(model.name)
        self.reported[model.name] = ReportedModel(
            name=model.name,
            state=state,
            digest=model.digest,
            version=model.version,
            attempt=model.attempt,
            reason=reason,
            detail=self.detail if state in FAILURES else None,
            rollout=model.rollout,
            active_digest=active.digest if active else None,
            active_version=active.version if active else None,
            variant="tflite:float32" if active else None,
        )

    def finish(self, name: str) -> list[Outgoing]:
        """Commit an update that hangs or downloads slowly; return what is published."""
        entry = self.reported[name]
        self.active[name] = _Installed(entry.digest, entry.version)
        self.reported[name] = replace(
            entry, state=_U.COMMITTED, active_digest=entry.digest, active_version=entry.version
        )
        return [self.report()]

    def turn_back(self, name: str, *, reason: str) -> Outgoing:
        """Roll an update back that hangs; return the report of it."""
        entry = self.reported[name]
        self._failed.add((name, entry.digest, entry.attempt))
        self.reported[name] = replace(entry, state=_U.ROLLED_BACK, reason=reason)
        return self.report()

    def _event(self, cause: str, **fields: Any) -> Outgoing:
        event = Event(
            fleet=self.fleet,
            device=self.id,
            boot=self.boot,
            boot_count=self.boot_count,
            sequence=self._next(Stream.EVENT),
            floor=1,
            time=times.to_text(self.now),
            uptime_s=1.0,
            cause=cause,
            **fields,
        )
        self._spool[Stream.EVENT, event.sequence] = event
        return self._spooled(event)

    def _transition(self, model: DesiredModel, before: UpdateState | None, state: UpdateState) -> Outgoing:
        return self._event(
            "update",
            model=model.name,
            digest=model.digest,
            version=model.version,
            attempt=model.attempt,
            rollout=model.rollout,
            from_state=before,
            to_state=state,
        )

    def _next(self, stream: Stream) -> int:
        self._numbers[stream] += 1
        return self._numbers[stream]

    def _spooled(self, item: Event | Telemetry) -> Outgoing:
        if isinstance(item, Telemetry):
            return self._publish(Channel.TELEMETRY, encode_telemetry(item))
        return self._publish(Channel.EVENT, signing.seal(item, PayloadType.EVENT, self.signer))

    def _drop(self, ack: StreamAck) -> None:
        for stream, sequence in list(self._spool):
            item = self._spool[stream, sequence]
            boot = item.boot.hex() if isinstance(item, Telemetry) else item.boot
            if stream is ack.stream and boot == ack.boot and sequence <= ack.sequence:
                del self._spool[stream, sequence]

    def _status(self, *, online: bool, connection: int) -> Outgoing:
        message = Status(online=online, boot=self.boot, boot_count=self.boot_count, connection=connection)
        return self._publish(Channel.STATUS, encode_control(message))

    def _publish(self, channel: Channel, payload: bytes) -> Outgoing:
        topic = topics.topic(self.fleet, self.id, channel)
        return Outgoing(topic, payload, retain=channel in topics.RETAINED)


class MqttDevice:
    """Carries a simulated device over a real broker, reconnecting until it is stopped."""

    def __init__(self, device: SimulatedDevice, access: BrokerAccess) -> None:
        self.device, self._access = device, access
        self._lock = threading.RLock()
        self._client = self._new_client()

    def start(self) -> None:
        """Connect in the background."""
        self._client.connect_async(self._access.host, self._access.port, keepalive=20)
        self._client.loop_start()

    def stop(self) -> None:
        """Go away without a will."""
        self._client.disconnect()
        self._client.loop_stop()
        # The one of before goes at once, and closes what it has: it is part of no cycle any more.
        mqtt_clients.let_go(self._client)
        self._client = self._new_client()

    def publish(self, messages: Iterable[Outgoing]) -> None:
        """Publish what the device says."""
        for message in messages:
            self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.device.id, protocol=mqtt.MQTTv311, clean_session=True
        )
        client.username_pw_set(self._access.username, self._access.password)
        client.reconnect_delay_set(0.1, 1.0)  # type: ignore[arg-type]  # it takes fractions of a second too
        client.on_connect, client.on_message = self._on_connect, self._on_message
        client.on_pre_connect = self._on_pre_connect
        return client

    def _on_pre_connect(self, client: mqtt.Client, _data: Any) -> None:
        will = self.device.will()
        client.will_set(will.topic, will.payload, qos=1, retain=True)

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            return
        heard = [topics.topic(self.device.fleet, self.device.id, channel) for channel in sorted(topics.FROM_FLEET)]
        client.subscribe([(topic, 1) for topic in heard])
        with self._lock:
            self.publish(self.device.connect())

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.publish(self.device.receive(message.topic, bytes(message.payload)))
