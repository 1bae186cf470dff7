"""A variant is skipped for its engine, memory or disk, in the order of the policy, and for nothing else."""

from __future__ import annotations

import msgspec
import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm.errors import EngineUnavailableError, InputError, NewerFormatError
from edgemm_runtime.engines.choice import AUTO, Policy, Resources, SkipReason, choose, parse_policy
from simulators.models import make_manifest

MANIFEST, BLOBS = make_manifest(minimum_engine="2.0")
BOTH: dict[str, str] = {Engine.TFLITE: "2.3.0", Engine.ONNX: "2.0"}


@pytest.mark.parametrize(
    ("policy", "engines", "chosen", "skipped"),
    [
        ("auto", BOTH, "tflite:float32", []),
        (("onnx:float32", "tflite:int8"), BOTH, "onnx:float32", []),
        (("onnx:float32", "tflite:int8"), {Engine.TFLITE: "2.0"}, "tflite:int8", ["onnx:float32"]),
        ("auto", {Engine.TFLITE: "1.4.0", Engine.ONNX: "2.0"}, "onnx:float32", ["tflite:float32", "tflite:int8"]),
        ("auto", {}, None, ["tflite:float32", "tflite:int8", "onnx:float32"]),
        (("tflite:int8",), {Engine.ONNX: "2.0"}, None, ["tflite:int8"]),
    ],
)
def test_the_first_that_can_run_is_chosen(
    policy: Policy, engines: dict[str, str], chosen: str | None, skipped: list[str]
) -> None:
    choice = choose(MANIFEST, policy=policy, engines=engines)
    assert (choice.variant.id if choice.variant else None) == chosen
    assert [s.variant for s in choice.skipped] == skipped
    assert {s.reason for s in choice.skipped} <= {SkipReason.NO_ENGINE}


@pytest.mark.parametrize(
    ("resources", "present", "reason"),
    [
        (Resources(memory_bytes=1_000_000), (), SkipReason.NO_MEMORY),
        (Resources(disk_bytes=10), (), SkipReason.NO_SPACE),
        (Resources(disk_bytes=10), tuple(BLOBS), None),
        (Resources(memory_bytes=10**9, disk_bytes=10**9), (), None),
    ],
)
def test_memory_and_disk_are_counted(resources: Resources, present: tuple[str, ...], reason: SkipReason | None) -> None:
    choice = choose(MANIFEST, engines=BOTH, resources=resources, present=present)
    assert {s.reason for s in choice.skipped} == ({reason} if reason else set())


def test_nothing_to_run_says_why_for_each() -> None:
    with pytest.raises(EngineUnavailableError, match=r"tflite:int8 needs ai-edge-litert.*onnx:float32 needs onnxrun"):
        choose(MANIFEST, engines={}).require()


def test_a_policy_with_an_unknown_variant_is_refused() -> None:
    with pytest.raises(InputError, match="no variant 'tflite:int4'; it has tflite:float32"):
        choose(MANIFEST, policy=("tflite:int4",), engines=BOTH)


def test_a_bundle_for_a_newer_runtime_is_refused_by_name() -> None:
    newer = msgspec.structs.replace(MANIFEST, minimum_runtime="99.0.0")
    with pytest.raises(NewerFormatError, match=r"99.0.0 is newer than .*upgrade edgemm"):
        choose(newer, engines=BOTH)


def test_policies_are_read_from_text() -> None:
    assert parse_policy(" auto ") == AUTO
    assert parse_policy("tflite:int8, onnx:float32") == ("tflite:int8", "onnx:float32")
    with pytest.raises(InputError, match="expected 'auto' or ids"):
        parse_policy("tflite:int8,,")
