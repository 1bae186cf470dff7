"""The line to the owner's broker: hears requests, has them answered by the server's threads, and publishes the answers.

    line = OwnerLine(broker, server.ask, server.memory)
    line.start()        # returns at once: the broker may come later
    line.stop()         # "offline", and the end of the connection

MQTT 5 where the broker has it, else MQTT 3.1.1. Nothing here waits for the broker: what it does not take is dropped and
counted (`room.Outcome`). Requests beyond what may be in flight, or while the broker is behind with answers, are
refused. A request of QoS 1 is confirmed once its refusal is on its way, so that a broker that keeps to the maximum that
it is told floods no faster than it is answered; one of QoS 0 is refused by QoS 0. Requests count in the server's memory
budget, and answers until the broker has them. Retained requests are of another time and are not answered.
"""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgemm.errors import RequestError
from edgemm.transport.backoff import Backoff
from edgemm.transport.broker_line import QOS, BrokerClient, BrokerLine, LinePatience
from edgemm.trust.enrolment import BrokerAccess
from edgemm_runtime.http.exchange import Reply, Request, error_body, error_reply
from edgemm_runtime.memory.memory_budget import Holding, MemoryBudget
from edgemm_runtime.mqtt.asking import MqttRequest, Topics, given_id, payload_of, read
from edgemm_runtime.mqtt.owner_broker import OwnerBroker
from edgemm_runtime.mqtt.room import Outcome, Room
from edgemm_runtime.request_id import make_id

_log = logging.getLogger(__name__)
Ask = Callable[[Request, Callable[[Reply], None]], Reply | None]
"""Has a request answered in a thread of the server; a `Reply` is a refusal."""
_HEADERS_BYTES = 256 * 1024
_REMEMBERED = 256
_LOGGED = 100
_FULL = error_body("too many requests wait: try again later", status=429)
_AT_MOST_ONCE = 0
_MOST_DEFERRED_BYTES, _DEFERRED_BYTES = 8 * 1024 * 1024, 800
_MQTT5 = MQTTProtocolVersion.MQTTv5


class OwnerLine(BrokerLine):
    """One device's line to its owner's broker; `fleets` is the host and port of the fleet's, which it never is."""

    plain_anywhere = True
    protocol = _MQTT5

    def __init__(
        self, broker: OwnerBroker, ask: Ask, memory: MemoryBudget, *, fleets: tuple[str, int] | None = None
    ) -> None:
        limits = broker.limits
        backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)
        patience = LinePatience(limits.connect_timeout_s, limits.keepalive_s, backoff)
        access = BrokerAccess(
            host=broker.host, port=broker.port, tls=broker.tls, username=broker.username, password=broker.password
        )
        super().__init__(access, client_id=f"edgemm-{secrets.token_hex(8)}", patience=patience)
        self._broker, self._limits, self._ask, self._fleets = broker, limits, ask, fleets
        self._memory = memory
        self._topics, self._room = Topics(broker.prefix), Room(limits)
        self._sending = threading.Lock()
        self._unsent: dict[int, deque[_Unsent]] = {QOS: deque(), _AT_MOST_ONCE: deque()}
        self._deferred: deque[_Deferred] = deque()
        self._deferred_bytes = 0
        self._seen: deque[int] = deque(maxlen=_REMEMBERED)
        self._online: MQTTMessageInfo | None = None
        self._leaving = False

    def counts(self) -> Mapping[Outcome, int]:
        """Return what became of the messages since the start."""
        return self._room.counts()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Hear no more requests, answer those in flight (at most `timeout_s`), say "offline", and disconnect."""
        self._leaving = True
        client = self._client
        if client is not None and self.connected:
            client.unsubscribe(self._topics.requests)
            if not self._room.wait_until_told(timeout_s):
                _log.warning("mqtt: the device ends before all requests are answered")
        said = self.send(self._topics.status, b"offline", retain=True)
        if said is not None:
            try:
                said.wait_for_publish(timeout_s)
            except (RuntimeError, ValueError) as err:
                _log.info("mqtt: offline not said error=%s", err)
        super().stop(timeout_s)

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that knows the broker by its certificate and its name."""
        return ssl.create_default_context(cadata=self._broker.ca)

    def connect_properties(self) -> Properties | None:
        """Tell a broker of MQTT 5 how large a message may be, and how many it may send before they are confirmed."""
        if self.protocol is not _MQTT5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = self._limits.max_payload_bytes + _HEADERS_BYTES
        properties.ReceiveMaximum = self._limits.max_in_flight
        return properties

    def prepare(self, client: Client) -> None:
        """Leave the last will, unless this is the fleet's broker under another name."""
        if self._fleets is not None and _leads_to(self._broker, *self._fleets):
            raise ValueError("it is the broker of this device's fleet, which carries no predictions")
        assert isinstance(client, BrokerClient)
        client.manual_ack_set(on=True)
        client.on_turn = self._refuse_deferred
        client.most_packet_bytes = self._limits.max_payload_bytes + _HEADERS_BYTES
        client.will_set(self._topics.status, b"offline", qos=QOS, retain=True)

    def accepted(self, client: Client) -> None:
        """Subscribe; what is asked from then on is heard, so that the device is online."""
        with self._sending:
            for unsent in self._unsent.values():
                unsent.clear()
            self._deferred.clear()
            self._deferred_bytes = 0
        self._seen.clear()
        client.on_subscribe = lambda *args: self._subscribed(client, args[3])
        if self.protocol is _MQTT5:
            options = SubscribeOptions(qos=QOS, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            client.subscribe([(self._topics.requests, options), (self._topics.status, options)])
        else:
            client.subscribe([(self._topics.requests, QOS), (self._topics.status, QOS)])

    def _subscribed(self, client: Client, answers: Sequence[ReasonCode]) -> None:
        if answers[0].is_failure:  # without the status it answers all the same
            _log.error("mqtt: the broker lets this user not subscribe topics=%s", self._topics.requests)
            client.disconnect()
            return
        self._online = client.publish(self._topics.status, b"online", qos=QOS, retain=True)
        self.opened()
        _log.info("mqtt: connected host=%s topics=%s", self._broker.host, self._topics.requests)

    def refused(self) -> None:
        """Try the other version of MQTT next: brokers refuse what they do not know in many ways."""
        self.protocol = MQTTProtocolVersion.MQTTv311 if self.protocol is _MQTT5 else _MQTT5

    def received(self, topic: str, payload: bytes) -> None:
        """Take a message; `came` does."""

    def came(self, message: MQTTMessage) -> None:
        """Take a message and confirm that, at once unless its refusal has to wait."""
        if self._heard(message):
            self._confirm(message.mid, message.qos)

    def _heard(self, message: MQTTMessage) -> bool:
        """Have a request answered, or hear that this device is offline and say that it is not; may it be confirmed?

        Offline is the last will of a connection before this one, as of a device that lost power: the broker holds that
        for open until its keep-alive is over.
        """
        if message.topic == self._topics.status:
            ours = message.payload == b"offline" and not message.retain and not self._leaving
            if ours and (self._online is None or _is_over(self._online)):
                self._online = self.send(self._topics.status, b"online", retain=True)
            return True
        repeated = message.dup and message.mid in self._seen
        if message.qos:
            self._seen.append(message.mid)
        if message.retain or repeated:
            self._note(Outcome.IGNORED)
            return True
        asked = _as_message(message)
        fits = len(asked.payload) <= self._limits.max_payload_bytes
        outcome = self._taken(asked) if fits else None
        if outcome is Outcome.IGNORED:
            self._note(outcome)
        elif outcome is Outcome.DROPPED:
            self._note(outcome)
            told = given_id(asked)
            return self._refuse(replace(asked, payload=b""), make_id() if told is None else told, message)
        else:
            self._begin(asked)
        return True

    def _taken(self, message: MqttRequest) -> Outcome | None:
        """Take a message in; see `Room.take`."""
        with self._sending:
            unsent = self._left(QOS)
            size = sum(one.size_bytes for one in unsent)
            behind = len(unsent) >= self._limits.max_unsent // 2 or size > self._limits.max_unsent_bytes // 2
        return Outcome.DROPPED if behind else self._room.take(message)

    def _refuse(self, asked: MqttRequest, told: str | int, message: MQTTMessage) -> bool:
        """Refuse a request as surely as it came; False where that is done later, and the request confirmed then."""
        qos = min(message.qos, QOS)
        if not self._deferred and self._publish(asked, _FULL, told, qos=qos):
            return True
        deferred = _Deferred(replace(asked, user={}, content_type=""), told, message.mid, qos)
        if self._deferred_bytes + deferred.size_bytes > _MOST_DEFERRED_BYTES:
            self._note(Outcome.UNSENT)
            return True
        self._deferred.append(deferred)
        self._deferred_bytes += deferred.size_bytes
        return False

    def _refuse_deferred(self) -> None:
        """Refuse what had to wait, as far as the broker takes it."""
        while self._deferred and self._publish(
            self._deferred[0].asked, _FULL, self._deferred[0].told, qos=self._deferred[0].qos
        ):
            done = self._deferred.popleft()
            self._deferred_bytes -= done.size_bytes
            self._confirm(done.mid, done.qos)

    def _confirm(self, mid: int, qos: int) -> None:
        if (client := self._client) is not None and qos:
            client.ack(mid, qos)

    def _begin(self, message: MqttRequest) -> None:
        model = self._topics.model_of(message.topic)
        holding = self._memory.holding()
        asked = read(message, model, holding)

        def tell(reply: Reply) -> None:
            if self._publish(message, reply, asked.id):
                self._note(Outcome.REFUSED if reply.status >= 400 else Outcome.ANSWERED)
            else:
                refused = self._publish(message, _FULL, asked.id, qos=_AT_MOST_ONCE)
                self._note(Outcome.DROPPED if refused else Outcome.UNSENT)

        def done(reply: Reply) -> None:
            if self._room.leave(message):
                try:
                    tell(reply)
                finally:
                    self._room.told()

        if len(message.payload) > self._limits.max_payload_bytes:
            most, found = self._limits.max_payload_bytes, len(message.payload)
            tell(error_body(f"expected a request of at most {most:,} bytes, found {found:,}", status=413))
        elif message.response_topic and not self._topics.may_answer_at(message.response_topic):
            why = "response topic: expected one of answers alone, found wildcards, or a topic of requests or status"
            done(error_body(why, status=400))
        else:
            try:  # half is for what is whole already, as over HTTP
                holding.grow(len(message.payload), leaving=self._memory.total_bytes // 2)
            except RequestError as err:
                done(error_reply(err))
                return
            refusal = self._ask(asked.request, done)
            if refusal is not None:
                done(refusal)

    def _publish(self, message: MqttRequest, reply: Reply, told: str | int, *, qos: int = QOS) -> bool:
        """Publish an answer; False where the broker is away, or behind by more than what is kept for it."""
        holding = self._memory.holding()
        try:
            holding.grow(2 * len(reply.body))  # it is copied behind its id
        except RequestError as err:
            reply = error_reply(err)
        payload, fixed = payload_of(reply, told), self._topics.answer(self._topics.model_of(message.topic))
        there = message.response_topic
        topic = there if there and self._topics.may_answer_at(there) else fixed
        retain = reply.status < 400 and (message.retain or (self._broker.retain and topic == fixed))
        with self._sending:
            client = self._client
            if client is None or not self.connected or not self._has_room(len(payload), qos):
                return False
            properties = _properties(message) if self.protocol is _MQTT5 else None
            try:
                sent = client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
            except ValueError as err:
                _log.warning("mqtt: an answer that cannot be published topic=%.80r error=%s", topic, err)
                return False
            self._unsent[qos].append(_Unsent(sent, len(payload), holding))
        return True

    def _has_room(self, size_bytes: int, qos: int) -> bool:
        """Tell whether the broker has taken enough of what it was sent before."""
        unsent, share = self._left(qos), 2 if qos == _AT_MOST_ONCE else 1
        if len(unsent) >= self._limits.max_unsent // share:
            return False
        held = sum(one.size_bytes for one in unsent)
        return not unsent or held + size_bytes <= self._limits.max_unsent_bytes // share

    def _left(self, qos: int) -> deque[_Unsent]:
        """Return what the broker has not taken."""
        unsent = self._unsent[qos]
        while unsent and _is_over(unsent[0].sent):
            unsent.popleft()
        return unsent

    def _note(self, outcome: Outcome) -> None:
        count = self._room.count(outcome)
        if outcome in {Outcome.DROPPED, Outcome.UNSENT} and (count == 1 or count % _LOGGED == 0):
            _log.warning("mqtt: requests without an answer outcome=%s count=%d", outcome, count)


class _Deferred(NamedTuple):
    """A request without its payload that is to be refused, by the id that it gave and the broker's number for it."""

    asked: MqttRequest
    told: str | int
    mid: int
    qos: int

    @property
    def size_bytes(self) -> int:
        """About what it takes of the memory."""
        texts = len(self.asked.topic) + len(self.asked.response_topic) + len(self.asked.correlation or b"")
        return _DEFERRED_BYTES + texts + len(str(self.told))


class _Unsent(NamedTuple):
    """An answer that the broker may not have, with what it holds of the server's memory."""

    sent: MQTTMessageInfo
    size_bytes: int
    holding: Holding


def _as_message(message: MQTTMessage) -> MqttRequest:
    properties = getattr(message, "properties", None)
    if properties is None:
        return MqttRequest(message.topic, bytes(message.payload))
    return MqttRequest(
        message.topic,
        bytes(message.payload),
        getattr(properties, "ContentType", ""),
        getattr(properties, "ResponseTopic", ""),
        getattr(properties, "CorrelationData", None),
        {name.lower(): value for name, value in getattr(properties, "UserProperty", [])},
    )


def _properties(message: MqttRequest) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    return properties


def _is_over(sent: MQTTMessageInfo) -> bool:
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):
        return True  # it was not taken at all


def _leads_to(broker: OwnerBroker, host: str, port: int) -> bool:
    """Tell whether two names lead to one address; where one leads nowhere, connecting will tell."""
    if broker.port != port:
        return False
    try:
        found = [{one[4][0] for one in socket.getaddrinfo(name, port)} for name in (broker.host, host)]
    except OSError:
        return False
    return bool(found[0] & found[1])
