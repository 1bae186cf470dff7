import ast
import importlib
import inspect
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm import messages, times
from edgemm.errors import MessageError
from edgemm.messages import (
    MAX_CONTROL_BYTES,
    MAX_TELEMETRY_BYTES,
    Ack,
    Desired,
    DesiredModel,
    Event,
    ModelCounters,
    Reported,
    SpoolGauges,
    Status,
    Telemetry,
)

DESIRED = Desired(
    fleet="home", device="pi-1", generation=3, not_before="2026-01-01T00:00:00Z", expires="2026-01-08T00:00:00Z",
    models=(DesiredModel(name="digits", version="1.0.0", digest="0" * 64),),
)  # fmt: skip
KINDS = [Desired, Reported, Event, Status, Ack]


def telemetry(**changes: Any) -> Telemetry:
    return Telemetry(
        boot=b"12345678",
        sequence=1,
        floor=1,
        time_s=1,
        uptime_s=1,
        spool=SpoolGauges(waiting=0, dropped=0),
        **changes,
    )


def test_round_trip() -> None:
    assert messages.decode_control(messages.encode_control(DESIRED), Desired) == DESIRED
    assert messages.decode_telemetry(messages.encode_telemetry(telemetry())) == telemetry()


def test_a_renewal_has_the_same_content_and_a_change_has_not() -> None:
    renewed = msgspec.structs.replace(DESIRED, expires="2027-01-01T00:00:00Z")
    assert renewed.content() == DESIRED.content()
    assert msgspec.structs.replace(DESIRED, models=()).content() != DESIRED.content()


def test_unknown_fields_are_ignored() -> None:
    raw = msgspec.json.decode(messages.encode_control(DESIRED)) | {"later": 1}
    assert messages.decode_control(msgspec.json.encode(raw), Desired) == DESIRED


def test_a_newer_major_version_is_refused_by_name() -> None:
    with pytest.raises(MessageError, match="message version 2, this edgemm reads 1: upgrade it"):
        messages.decode_control(b'{"v":2,"anything":[]}', Status)


def test_what_is_too_large_is_neither_written_nor_read() -> None:
    large = msgspec.structs.replace(DESIRED, fleet="x" * MAX_CONTROL_BYTES)
    with pytest.raises(MessageError, match="the limit is 32768"):
        messages.encode_control(large)
    with pytest.raises(MessageError, match="the limit is 32768"):
        messages.decode_control(b" " * (MAX_CONTROL_BYTES + 1), Desired)
    counters = ModelCounters(
        name="m", digest=b"0" * 32, variant="v" * 100, requests=1, errors=0, latency_sum_us=1, latency_counts=()
    )
    with pytest.raises(MessageError, match="shed something"):
        messages.encode_telemetry(telemetry(models=(counters,) * 9))
    with pytest.raises(MessageError, match="the limit is 1024"):
        messages.decode_telemetry(b"\x80" * (MAX_TELEMETRY_BYTES + 1))


def test_a_window_of_four_models_fits() -> None:
    counters = ModelCounters(
        name="model", digest=b"0" * 32, variant="tflite:int8", requests=10**6, errors=10, latency_sum_us=10**9,
        latency_counts=(0,) * 8 + (10**5,) * 12,
    )  # fmt: skip
    assert len(messages.encode_telemetry(telemetry(models=(counters,) * 4))) <= MAX_TELEMETRY_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"v":1}', b'{"v":"1"}', b"\xff", b"[" * 10_000])
def test_malformed_control_is_refused(kind: type[Desired | Reported | Event | Status | Ack], data: bytes) -> None:
    with pytest.raises(MessageError, match=kind.__name__):
        messages.decode_control(data, kind)


@given(st.binary(max_size=200))
def test_arbitrary_telemetry_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(MessageError):
        messages.decode_telemetry(data)


def test_latency_edges_rise_by_the_root_of_two() -> None:
    edges = messages.LATENCY_EDGES_S
    assert len(edges) == 32
    assert edges[0] == pytest.approx(50e-6)
    assert edges[2] / edges[0] == pytest.approx(2)


@pytest.mark.parametrize("seconds", [0, 1_763_668_800, 2_208_988_800])
def test_times_round_trip(seconds: int) -> None:
    assert times.from_text(times.to_text(seconds)) == seconds


def test_a_day_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="day"):
        times.from_text("2026-02-31T00:00:00Z")


def test_the_public_names_are_those_of_the_families() -> None:
    families = [
        importlib.import_module(f"edgemm.messages.{name}")
        for name in ("ack", "desired", "reported", "scalars", "telemetry", "wire")
    ]
    own = {
        name
        for family in families
        for node in ast.parse(inspect.getsource(family)).body
        for name in _names(node)
        if not name.startswith("_")
    }
    assert sorted(messages.__all__) == sorted(own)


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
