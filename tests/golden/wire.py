"""Bundles, messages, envelopes and enrolment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import messages
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, Signature, TensorSpec, Variant, decode_manifest
from edgemm.messages import (
    Ack,
    Action,
    ActionOrder,
    ActionResult,
    Desired,
    DesiredModel,
    DesiredShadow,
    Event,
    LabelCounters,
    ModelConfig,
    ModelCounters,
    Probation,
    Reported,
    ReportedClock,
    ReportedModel,
    ReportedShadow,
    ShadowCounters,
    ShadowOutput,
    ShadowPhase,
    SpoolGauges,
    Status,
    Stream,
    StreamAck,
    SystemGauges,
    Telemetry,
)
from edgemm.states import UpdateState
from edgemm.trust.enrolment import BrokerAccess, EnrolmentRequest, EnrolmentResponse, EnrolmentToken, parse_token
from edgemm.trust.signing import PayloadType, key_document, seal, unseal, unseal_enrolment
from edgemm.trust.time_statement import TimeQuestion, TimeStatement
from tests.golden.vector import DEVICE, DIRECTOR, TIMESTAMP, Vector
from tests.unit.core.bundles import small_bundle, small_manifest


def _of_strings(variant: Variant) -> Variant:
    inputs, outputs = (
        tuple(replace(tensor, dtype=DType.STRING, quantization=None) for tensor in tensors)
        for tensors in (variant.inputs, variant.outputs)
    )
    return replace(variant, inputs=inputs, outputs=outputs)


BOOT = "0123456789abcdef"
COLUMNS = small_manifest(
    minimum_runtime="0.3.0",
    signature=Signature(
        inputs=(TensorSpec(name="x", dtype=DType.STRING, shape=(-1, 1)),),
        outputs=(TensorSpec(name="y", dtype=DType.STRING, shape=(-1,)),),
    ),
    variants=tuple(_of_strings(variant) for variant in small_manifest().variants),
    preprocessing=None,
)
VISITS = (
    "0.3.0",
    [("age", "float32", True), ("visits", "int64", False), ("city", "string", False), ("member", "bool", False)],
    ["string", "float32", "string"],
)
STATEFUL = small_manifest(stateful=True, minimum_runtime="0.2.0")


DESIRED = Desired(
    fleet="home",
    device="pi-kitchen-1a2b3c",
    generation=7,
    not_before="2026-01-01T00:00:00Z",
    expires="2026-01-08T00:00:00Z",
    models=(
        DesiredModel(name="digits", version="1.0.0", digest="a" * 64),
        DesiredModel(
            name="wake-word",
            version="2.1.0-rc.1",
            digest="b" * 64,
            attempt=2,
            variants=("tflite:int8", "onnx:float32"),
            rollout="r-12",
            config=ModelConfig(threads=2, probation=Probation(min_duration_s=5.5, min_requests=10, max_latency_s=0.25)),
        ),
    ),
    actions=(Action(id="a-1", kind="selftest", model="digits"), Action(id="a-2", kind="restart")),
)
REPORTED = Reported(
    fleet="home",
    device="pi-kitchen-1a2b3c",
    boot=BOOT,
    boot_count=4,
    sequence=19,
    time="2026-01-02T03:04:05Z",
    clock_synced=True,
    generation=7,
    runtime="0.1.0",
    engines={"tflite": "2.3.0"},
    models=(
        ReportedModel(
            name="digits",
            state=UpdateState.ROLLED_BACK,
            digest="a" * 64,
            version="1.0.0",
            attempt=1,
            reason="errors",
            detail="12 of 40 requests failed",
            rollout="r-11",
            active_digest="c" * 64,
            active_version="0.9.0",
            variant="tflite:int8",
        ),
    ),
    actions=(ActionResult(id="a-1", ok=True),),
)
EVENT = Event(
    fleet="home",
    device="pi-kitchen-1a2b3c",
    boot=BOOT,
    boot_count=4,
    sequence=3,
    floor=2,
    time="2026-01-02T03:04:05Z",
    uptime_s=61.5,
    cause="errors",
    detail="12 of 40 requests failed",
    model="digits",
    digest="a" * 64,
    version="1.0.0",
    attempt=1,
    rollout="r-11",
    from_state=UpdateState.PROBATION,
    to_state=UpdateState.ROLLING_BACK,
)
STATUS = Status(online=False, boot=BOOT, boot_count=4, connection=2)
ACK = Ack(
    acks=(
        StreamAck(boot=BOOT, stream=Stream.EVENT, sequence=3),
        StreamAck(boot=BOOT, stream=Stream.TELEMETRY, sequence=90),
    )
)
TELEMETRY = Telemetry(
    boot=bytes.fromhex(BOOT),
    sequence=91,
    floor=91,
    time_s=1_767_323_045,
    uptime_s=5_460,
    models=(
        ModelCounters(
            name="digits",
            digest=bytes.fromhex("a" * 64),
            variant="tflite:int8",
            requests=1_000,
            errors=12,
            latency_sum_us=123_456,
            latency_counts=(0, 0, 700, 288),
        ),
    ),
    system=SystemGauges(
        temperature_c=48.5, load_1m=0.25, memory_available_bytes=2**29, disk_free_bytes=2**33, rss_bytes=2**26
    ),
    spool=SpoolGauges(waiting=1, dropped=0),
)
TELEMETRY_WRITES = replace(TELEMETRY, spool=SpoolGauges(waiting=1, dropped=3, unwritten=2, written_bytes=1_245_184))
SHADOW = DesiredShadow(version="1.1.0", digest="e" * 64, share=0.25, variants=("tflite:int8",))
DESIRED_SHADOW = replace(
    DESIRED, models=(replace(DESIRED.models[0], config=ModelConfig(shadow=SHADOW)), DESIRED.models[1])
)
REPORTED_SHADOW = replace(
    REPORTED,
    models=(
        replace(
            REPORTED.models[0],
            shadow=ReportedShadow(
                digest=SHADOW.digest,
                version=SHADOW.version,
                phase=ShadowPhase.FAILED,
                reason="no_space",
                detail="9,000 bytes are needed, 10 are free: remove something",
            ),
        ),
    ),
)
TELEMETRY_SHADOW = replace(
    TELEMETRY,
    models=(
        replace(
            TELEMETRY.models[0],
            shadows=(
                ShadowCounters(
                    digest=bytes.fromhex(SHADOW.digest),
                    variant="tflite:int8",
                    sampled=250,
                    compared=240,
                    errors=2,
                    dropped=8,
                    crashes=1,
                    outputs=(
                        ShadowOutput(name="classes", rows=240, agreed=230, classes=((3, 200, 4, 6), (7, 30, 6, 4))),
                        ShadowOutput(name="values", errors=(100, 0, 380), above=300, below=80),
                    ),
                ),
            ),
            labels=LabelCounters(matched=40, correct=37),
        ),
    ),
    unmatched_labels=3,
)
ORDER = ActionOrder(fleet="home", device="pi-kitchen-1a2b3c", boot=BOOT, action=Action(id="a-3", kind="sync-time"))
REPORTED_CLOCK = replace(
    REPORTED,
    clock=ReportedClock(reason="clock_ahead", ahead_s=157_680_000, for_s=90, detail="HTTP 429: ask again later"),
)
QUESTION = TimeQuestion(nonce="00112233445566778899aabbccddeeff")
STATEMENT = TimeStatement(fleet="home", nonce=QUESTION.nonce, time="2026-01-02T03:04:05Z")
TOKEN = EnrolmentToken(secret=bytes(range(16)), root_digest="ab" * 32, tls_fingerprint="cd" * 32)
PLAIN_TOKEN = EnrolmentToken(secret=bytes(range(16)), root_digest="ab" * 32)
ENROLMENT_REQUEST = EnrolmentRequest(
    secret=bytes(range(16)).hex(),
    public_key=key_document(DEVICE.public_key),
    name="Pi in the kitchen",
    labels={"site": "home"},
    runtime="0.1.0",
    platform="aarch64",
)
ENROLMENT_RESPONSE = EnrolmentResponse(
    fleet="home",
    device="pi-kitchen-1a2b3c",
    bearer="device-bearer",
    broker=BrokerAccess(
        host="fleet.example", port=8883, tls=True, username="pi-kitchen-1a2b3c", password="secret", ca="PEM"
    ),
    root='{"signed":{}}',
)


def _control(name: str, value: msgspec.Struct) -> Vector:
    return Vector(name, value, messages.encode_control, lambda data: messages.decode_control(data, type(value)))


def _sealed(name: str, value: msgspec.Struct, kind: PayloadType, key: CryptoSigner) -> Vector:
    return Vector(
        name, value, lambda v: seal(v, kind, key), lambda data: unseal(data, kind, type(value), keys=[key.public_key])
    )


def _write_bundle(_: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.edgemm"
        small_bundle(path)
        return path.read_bytes()


def _read_bundle(data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.edgemm"
        path.write_bytes(data)
        with open_bundle(path) as bundle:
            return bundle.manifest


def _read_stateful(data: bytes) -> Any:
    """Tell what makes a bundle stateful; `simulators.stateful` wrote the file, and the engines' tests run it."""
    found = _read_bundle(data)
    return found.name, found.version, found.minimum_runtime, found.stateful, found.golden.samples


def _read_columns(data: bytes) -> Any:
    """Tell what makes a bundle one of columns; `simulators.tables` wrote the file, and the engines' tests run it."""
    found = _read_bundle(data)
    inputs = [(spec.name, spec.dtype.value, bool(spec.missing)) for spec in found.signature.inputs]
    return found.minimum_runtime, inputs, [spec.dtype.value for spec in found.signature.outputs]


VECTORS = [
    Vector("bundle/manifest.json", small_manifest(), lambda m: m.encode(), lambda d: decode_manifest(d, path="golden")),
    Vector("bundle/digits-1.0.0.edgemm", small_manifest(), _write_bundle, _read_bundle),
    Vector("bundle/stateful.json", STATEFUL, lambda m: m.encode(), lambda d: decode_manifest(d, path="golden")),
    Vector("bundle/columns.json", COLUMNS, lambda m: m.encode(), lambda d: decode_manifest(d, path="golden")),
    Vector("bundle/visits-1.0.0.edgemm", VISITS, None, _read_columns),
    Vector("bundle/wake-1.0.0.edgemm", ("wake", "1.0.0", "0.2.0", True, 8), None, _read_stateful),
    _control("messages/desired.json", DESIRED),
    _control("messages/reported.json", REPORTED),
    _control("messages/event.json", EVENT),
    _control("messages/status.json", STATUS),
    _control("messages/ack.json", ACK),
    _control("messages/action.json", ORDER),
    _control("time/reported.json", REPORTED_CLOCK),
    _control("time/question.json", QUESTION),
    _control("time/statement.json", STATEMENT),
    _sealed("envelopes/action.json", ORDER, PayloadType.ACTION, DIRECTOR),
    _sealed("envelopes/time.json", STATEMENT, PayloadType.TIME, TIMESTAMP),
    Vector("messages/telemetry.msgpack", TELEMETRY, messages.encode_telemetry, messages.decode_telemetry),
    Vector("messages/telemetry-writes.msgpack", TELEMETRY_WRITES, messages.encode_telemetry, messages.decode_telemetry),
    _control("presence/reported.json", replace(REPORTED, connection=2)),
    _control("shadows/desired.json", DESIRED_SHADOW),
    _control("shadows/reported.json", REPORTED_SHADOW),
    Vector("shadows/telemetry.msgpack", TELEMETRY_SHADOW, messages.encode_telemetry, messages.decode_telemetry),
    _sealed("envelopes/desired.json", DESIRED, PayloadType.DESIRED, DIRECTOR),
    _sealed("envelopes/reported.json", REPORTED, PayloadType.REPORTED, DEVICE),
    _sealed("envelopes/event.json", EVENT, PayloadType.EVENT, DEVICE),
    Vector("enrolment/token.txt", TOKEN, lambda t: str(t).encode(), lambda d: parse_token(d.decode())),
    Vector("enrolment/token-plain-http.txt", PLAIN_TOKEN, lambda t: str(t).encode(), lambda d: parse_token(d.decode())),
    _control("enrolment/request.json", ENROLMENT_REQUEST),
    Vector(
        "envelopes/enrolment.json",
        ENROLMENT_REQUEST,
        lambda v: seal(v, PayloadType.ENROLMENT, DEVICE),
        lambda data: unseal_enrolment(data)[0],
    ),
    _control("enrolment/response.json", ENROLMENT_RESPONSE),
]
