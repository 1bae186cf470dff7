"""The messages between devices and the fleet manager over MQTT; one file a family, one Struct a message.

Control is JSON, telemetry msgpack. Unknown fields are ignored, unknown words of an enum kept (`edgemm.open_enum`), what
must not be ignored is named in `requires` (`edgemm.requirements`); another major version (`v`) is refused by name.
Duplicates, reordering and loss are normal: nothing here relies on their absence. `desired`, `action`, `reported` and
`event` travel inside a DSSE envelope (`edgemm.trust.signing`); `status`, `ack` and `telemetry` as they are.
"""

from __future__ import annotations

from edgemm.messages.ack import Ack, Stream, StreamAck
from edgemm.messages.desired import (
    MAX_MODELS,
    MAX_PENDING_ACTIONS,
    ORDERED_KINDS,
    Action,
    ActionKind,
    ActionOrder,
    Desired,
    DesiredModel,
    DesiredShadow,
    ModelConfig,
    Probation,
    VariantPolicy,
    Variants,
    hash_of_payload,
    unknown_items,
)
from edgemm.messages.reported import (
    ActionResult,
    Event,
    RefusedDesired,
    Reported,
    ReportedClock,
    ReportedModel,
    ReportedShadow,
    ShadowPhase,
    Status,
)
from edgemm.messages.scalars import (
    MAX_CONTROL_BYTES,
    MAX_TELEMETRY_BYTES,
    VERSION,
    Boot,
    Detail,
    Natural,
    Positive,
    Ratio,
    Seconds,
    Short,
)
from edgemm.messages.telemetry import (
    LATENCY_EDGES_S,
    ClassCounts,
    LabelCounters,
    ModelCounters,
    ShadowCounters,
    ShadowOutput,
    SpoolGauges,
    SystemGauges,
    Telemetry,
)
from edgemm.messages.wire import Message, decode_control, decode_telemetry, encode_control, encode_telemetry

__all__ = [
    "LATENCY_EDGES_S",
    "MAX_CONTROL_BYTES",
    "MAX_MODELS",
    "MAX_PENDING_ACTIONS",
    "MAX_TELEMETRY_BYTES",
    "ORDERED_KINDS",
    "VERSION",
    "Ack",
    "Action",
    "ActionKind",
    "ActionOrder",
    "ActionResult",
    "Boot",
    "ClassCounts",
    "Desired",
    "DesiredModel",
    "DesiredShadow",
    "Detail",
    "Event",
    "LabelCounters",
    "Message",
    "ModelConfig",
    "ModelCounters",
    "Natural",
    "Positive",
    "Probation",
    "Ratio",
    "RefusedDesired",
    "Reported",
    "ReportedClock",
    "ReportedModel",
    "ReportedShadow",
    "Seconds",
    "ShadowCounters",
    "ShadowOutput",
    "ShadowPhase",
    "Short",
    "SpoolGauges",
    "Status",
    "Stream",
    "StreamAck",
    "SystemGauges",
    "Telemetry",
    "VariantPolicy",
    "Variants",
    "decode_control",
    "decode_telemetry",
    "encode_control",
    "encode_telemetry",
    "hash_of_payload",
    "unknown_items",
]
