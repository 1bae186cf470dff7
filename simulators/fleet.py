"""A fleet manager for one agent's tests: enrolment, version repository, blobs, broker, director.

    with SimulatedFleet() as fleet:
        fleet.publish(bundle_path)
        run_agent(AgentOptions(fleet_url=fleet.url, token=fleet.token(), …))
        fleet.desire(device, fleet.model("tiny", "1.0.0"))
        fleet.wait_for(lambda: fleet.state(device, "tiny") == "committed")

Over the production interfaces: real TUF metadata, real HTTP, MQTT over the embedded broker, signed envelopes. What it
hears it checks as a manager does, and it acknowledges what it has stored (in memory) unless `acknowledge` is off.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from securesystemslib.signer import CryptoSigner, Key

from edgemm import times, topics
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest
from edgemm.canonical import sha256
from edgemm.messages import (
    Ack,
    Action,
    ActionOrder,
    Desired,
    DesiredModel,
    Event,
    Message,
    ModelConfig,
    Probation,
    Reported,
    ReportedModel,
    Status,
    Stream,
    StreamAck,
    Telemetry,
    decode_control,
    decode_telemetry,
    encode_control,
)
from edgemm.topics import Channel
from edgemm.trust.enrolment import (
    DIRECTOR_TARGET,
    BrokerAccess,
    EnrolmentResponse,
    create_token,
)
from edgemm.trust.signing import PayloadType, seal, unseal, unseal_enrolment
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.topic_rights import MANAGER, BrokerRules
from edgemm_fleet.trust import roles
from simulators import mqtt_clients
from simulators.fleet_http import Answer, FleetHttp
from simulators.fleet_tuf import TufInMemory

QUICK = Probation(min_duration_s=0.0, selftest_interval_s=0.05)
"""A probation that commits at once."""


class SimulatedFleet:
    """One fleet in this process, its broker on a free loopback port."""

    def __init__(self, name: str = "home", *, broker: bool = True) -> None:
        self.name, self.acknowledge = name, True
        self.director = CryptoSigner.generate_ed25519()
        self.tuf = TufInMemory(name, self.director, now=lambda: datetime.now(UTC))
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.devices: dict[str, Key] = {}
        self.reported: dict[str, Reported] = {}
        self.statuses: list[Status] = []
        self.events: dict[tuple[str, int], Event] = {}
        self.telemetry: dict[tuple[bytes, int], Telemetry] = {}
        self._over: set[str] = set()
        """Boots of stories that were forgotten."""

        self.problems: list[str] = []
        """What a manager would have refused."""
        self.heard = 0
        """Messages with a sequence, doubles included."""
        self._desired: dict[str, Desired] = {}
        self._secrets: dict[str, EnrolmentResponse | None] = {}
        self._bearers: dict[str, str] = {}
        self._passwords: dict[str, str] = {MANAGER: secrets.token_hex(8)}
        self._changed = threading.Condition()
        self._broker: EmbeddedBroker | None = None
        self._client: mqtt.Client | None = None
        self._broker_port = 0
        blobs: dict[str, bytes] = {}
        self.http = FleetHttp(files=self.tuf.files, blobs=blobs, enrol=self._enrol, bearers=self._bearers.__contains__)
        if broker:
            self.start_broker()

    @property
    def url(self) -> str:
        return self.http.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop_broker()
        self.http.stop()

    def start_broker(self) -> None:
        """Start the broker, on the port that it had, and listen to all devices."""
        rules = BrokerRules(self.name, lambda user, password: self._passwords.get(user) == password)
        self._broker = EmbeddedBroker(rules, BrokerSettings(port=self._broker_port))
        self._broker.start()
        self._broker_port = self._broker.port
        self._listen()

    def _listen(self) -> None:
        """Connect to the broker and hear all devices."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=MANAGER)
        client.username_pw_set(MANAGER, self._passwords[MANAGER])
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda *args: self._heard(args[2].topic, bytes(args[2].payload))
        client.connect("127.0.0.1", self._broker_port)
        client.loop_start()
        client.subscribe([(f, 1) for f in topics.ingest_filters(self.name)])
        assert subscribed.wait(60)
        self._client = client

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            mqtt_clients.let_go(self._client)
            self._client = None

    def stop_broker(self) -> None:
        self._hang_up()
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    def token(self, *, root_digest: str | None = None) -> str:
        """Return an enrolment token for one device."""
        token = create_token(root_digest=root_digest or sha256(self.tuf.root), tls_fingerprint=None)
        self._secrets[token.secret.hex()] = None
        return str(token)

    def replace_director(self) -> CryptoSigner:
        """Give the director another key, signed by the targets key; return the one of before."""
        before, self.director = self.director, CryptoSigner.generate_ed25519()
        document = roles.director_document(self.name, (self.director.public_key,))
        self.tuf.replace_document(DIRECTOR_TARGET, document)
        return before

    def publish(self, path: Path, *, minimum: str = "0.0.0", custom: dict[str, object] | None = None) -> Manifest:
        """Publish a bundle file."""
        with open_bundle(path) as bundle:
            self.http.blobs.update({digest: bundle.read(digest) for digest in bundle.manifest.blobs})
            manifest = bundle.manifest
        self.tuf.publish(manifest, minimum=minimum, custom=custom)
        self.manifests[manifest.name, manifest.version] = manifest
        return manifest

    def model(self, name: str, version: str, *, probation: Probation = QUICK, **fields: Any) -> DesiredModel:
        """Return the entry of a published version."""
        digest = sha256(self.manifests[name, version].encode())
        config = ModelConfig(probation=probation)
        values: dict[str, Any] = {"name": name, "version": version, "digest": digest, "config": config}
        return DesiredModel(**values | fields)

    def desire(self, device: str, *models: DesiredModel, actions: tuple[Action, ...] = (), **fields: Any) -> Desired:
        """Compose the next generation for a device and publish it."""
        known = self._desired.get(device)
        heard = self.reported[device].generation if device in self.reported else 0
        wanted: dict[str, Any] = {
            "fleet": self.name,
            "device": device,
            "generation": max(known.generation if known else 0, heard) + 1,
            "not_before": times.to_text(time.time()),
            "expires": times.to_text(time.time() + 7 * 86400),
            "models": models,
            "actions": actions,
        }
        self._desired[device] = Desired(**wanted | fields)
        self.send_desired(device)
        return self._desired[device]

    def state_time(self, *, ahead_s: float = 0.0) -> None:
        """Answer questions for the time from now on, by a clock that is so far ahead."""
        self.http.state_time = lambda body: self.tuf.state_time(self.name, body, now_s=time.time() + ahead_s)

    def order(self, device: str, action: Action, *, boot: str | None = None) -> None:
        """Send an action in a message of its own, to the start that the device reported unless another is named."""
        boot = boot or self.reported[device].boot
        order = ActionOrder(fleet=self.name, device=device, boot=boot, action=action)
        self.send(device, Channel.ACTION, seal(order, PayloadType.ACTION, self.director))

    def send_desired(self, device: str) -> None:
        self.send(device, Channel.DESIRED, seal(self._desired[device], PayloadType.DESIRED, self.director))

    def send(self, device: str, channel: Channel, payload: bytes) -> None:
        """Publish anything to a device."""
        if self._client is not None:
            retained = channel in topics.RETAINED
            self._client.publish(topics.topic(self.name, device, channel), payload, qos=1, retain=retained)

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait until a condition on what was heard holds."""
        with self._changed:
            held = self._changed.wait_for(condition, timeout_s)
        assert held, f"not within {timeout_s} s; heard: {self.reported} {sorted(self.events)} {self.problems}"

    def only_device(self) -> str:
        """Return the id of the one device that enrolled."""
        (device,) = self.devices
        return device

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens: HTTP and MQTT."""
        return (self.http.port, self._broker_port)

    def windows(self, device: str) -> int:
        """Return how many windows of telemetry a device's last boot sent."""
        boot = self.reported[device].boot if device in self.reported else ""
        return sum(window.hex() == boot for window, _ in list(self.telemetry))

    def forget(self, device: str) -> None:
        """Begin a new story of a device: what was heard of its boots so far never was, nor what comes late of them."""
        with self._changed:
            self._over |= {event.boot for event in self.events.values() if event.device == device}
            if device in self.reported:
                self._over.add(self.reported.pop(device).boot)
            self.events = {key: event for key, event in self.events.items() if event.device != device}
            self.telemetry = {key: w for key, w in self.telemetry.items() if w.boot.hex() not in self._over}

    def reported_model(self, device: str, name: str) -> ReportedModel | None:
        models = self.reported[device].models if device in self.reported else ()
        return next((m for m in models if m.name == name), None)

    def state(self, device: str, name: str, version: str | None = None) -> str | None:
        """Return the state that a device reports of a model (of this version)."""
        model = self.reported_model(device, name)
        return None if model is None or version not in {None, model.version} else model.state.value

    def path(self, name: str, version: str) -> list[str]:
        """Return the states that events told of one version, in the order of boots and sequences."""
        told = sorted(self.events.values(), key=lambda e: (e.boot_count, e.sequence))
        return [e.to_state.value for e in told if (e.model, e.version) == (name, version) and e.to_state]

    def _enrol(self, body: bytes) -> bytes:
        request, key = unseal_enrolment(body)
        if request.secret not in self._secrets:
            raise Answer(403, "token_unknown", "the token is unknown, expired or used up")
        device = f"{request.name}-{key.keyid[:6]}"
        known = self._secrets[request.secret]
        if known is not None and known.device != device:
            raise Answer(403, "token_used", "the token is used up")
        if known is None:
            access = BrokerAccess(
                host="127.0.0.1", port=self._broker_port or 1, tls=False, username=device, password=secrets.token_hex(8)
            )
            known = EnrolmentResponse(
                fleet=self.name, device=device, bearer=secrets.token_hex(8), broker=access, root=self.tuf.root.decode()
            )
            self._secrets[request.secret] = known
            self._bearers[known.bearer] = device
            self._passwords[device] = access.password
            self.devices[device] = key
        return msgspec.json.encode(known)

    def _heard(self, topic: str, payload: bytes) -> None:
        address = topics.parse(topic)
        with self._changed:
            try:
                self._store(address, payload)
            except Exception as err:  # noqa: BLE001 - whatever a test's device sends is a finding
                self.problems.append(f"{topic}: {type(err).__name__}: {err}")
            self._changed.notify_all()

    def _store(self, address: topics.Address, payload: bytes) -> None:
        device = address.device
        match address.channel:
            case Channel.STATUS:
                self.statuses.append(decode_control(payload, Status))
            case Channel.REPORTED:
                message = self._open(device, payload, PayloadType.REPORTED, Reported)
                if message.boot in self._over:
                    return
                if device not in self.reported or message.order > self.reported[device].order:
                    self.reported[device] = message
                if device in self._desired and message.generation != self._desired[device].generation:
                    self.send_desired(device)
            case Channel.EVENT:
                event = self._open(device, payload, PayloadType.EVENT, Event)
                if event.boot in self._over:
                    return
                self.heard += 1
                self.events[event.boot, event.sequence] = event
                self._acknowledge(device, event.boot, Stream.EVENT, event.floor)
            case Channel.TELEMETRY:
                window = decode_telemetry(payload)
                if window.boot.hex() in self._over:
                    return
                self.heard += 1
                self.telemetry[window.boot, window.sequence] = window
                self._acknowledge(device, window.boot.hex(), Stream.TELEMETRY, window.floor)

    def _open(self, device: str, payload: bytes, kind: PayloadType, message: type[Message]) -> Message:
        opened = unseal(payload, kind, message, keys=[self.devices[device]])
        assert getattr(opened, "device", None) == device, "a device spoke for another one"
        return opened

    def _acknowledge(self, device: str, boot: str, stream: Stream, floor: int) -> None:
        if not self.acknowledge:
            return
        stored = {s for b, s in self.events if b == boot}
        if stream is Stream.TELEMETRY:
            stored = {s for b, s in self.telemetry if b.hex() == boot}
        upto = floor - 1
        while upto + 1 in stored:
            upto += 1
        ack = Ack(acks=(StreamAck(boot=boot, stream=stream, sequence=upto),))
        self.send(device, Channel.ACK, encode_control(ack))
