"""The protocol extensions of Triton's clients: statistics, index and configuration of models. Pure.

Source: the statistics, model repository and model configuration extensions of the Open Inference Protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from edgemm.bundle.manifest import DType, Manifest, TensorSpec, Variant
from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults
from edgemm_runtime.models.counters import CounterSnapshot
from edgemm_runtime.models.registry import Unloaded
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.serving.protocols.v2.messages import DATATYPES, platform


def statistics(snapshots: Iterable[CounterSnapshot]) -> dict[str, Any]:
    """Return counts and nanoseconds since the process started, of each model and version that served.

    What is not measured apart (queueing, copying inputs and outputs) is left out rather than called 0.
    """
    return {"model_stats": [_statistics(name, version, of) for (name, version), of in _by_version(snapshots).items()]}


class IndexRequest(Struct, frozen=True):
    """What an index may be asked for: with `ready`, only what answers."""

    ready: bool | None = None


def read_index_request(body: bytes) -> IndexRequest:
    """Read a request; an empty body asks for all.

    Raises:
        BadRequestError: it is not JSON of that form.
    """
    try:
        return msgspec.json.decode(body, type=IndexRequest) if body.strip() else IndexRequest()
    except json_faults.FAULTS as err:
        raise BadRequestError(f'expected {{"ready": true}}, {{}} or nothing: {json_faults.told(err, body)}') from err


def index(
    models: Mapping[str, str | None], unloaded: Mapping[str, Unloaded], *, asked: IndexRequest
) -> list[dict[str, str]]:
    """Return name, version and state of each model; `models` has no version where it is still to come."""
    found = [
        {"name": name, "version": version or "", "state": "READY" if version else "LOADING", "reason": ""}
        for name, version in models.items()
    ]
    for name, out in unloaded.items():
        if name not in models:
            found.append({"name": name, "version": out.version, "state": "UNAVAILABLE", "reason": out.reason})
    if asked.ready:
        found = [one for one in found if one["state"] == "READY"]
    return sorted(found, key=lambda one: one["name"])


def configuration(name: str, manifest: Manifest, variant: Variant, sequences: SequenceLimits) -> dict[str, Any]:
    """Return a model as Triton configures one; batches are part of the shapes, so `max_batch_size` is 0.

    A stateful one has `sequence_batching`, by which Triton's clients know that it wants sequences.
    """
    signature = manifest.signature
    idle_us = {"max_sequence_idle_microseconds": round(sequences.idle_s * 1e6)}
    return {
        "name": name,
        "platform": platform(variant.engine),
        "backend": variant.engine,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 0,
        "input": [_tensor(spec) for spec in signature.inputs],
        "output": [_tensor(spec) for spec in signature.outputs],
        "parameters": {"variant": {"string_value": variant.id}},
    } | ({"sequence_batching": {"direct": {}, **idle_us}} if manifest.stateful else {})


def _by_version(snapshots: Iterable[CounterSnapshot]) -> dict[tuple[str, str], list[CounterSnapshot]]:
    found: dict[tuple[str, str], list[CounterSnapshot]] = {}
    for snapshot in snapshots:
        found.setdefault((snapshot.key.name, snapshot.key.version), []).append(snapshot)
    return found


def _statistics(name: str, version: str, snapshots: list[CounterSnapshot]) -> dict[str, Any]:
    requests, errors = sum(s.requests for s in snapshots), sum(s.errors for s in snapshots)
    whole = {"count": requests, "ns": round(sum(s.latency_sum_s for s in snapshots) * 1e9)}
    return {
        "name": name,
        "version": version,
        "inference_count": requests - errors,
        "execution_count": requests,
        "inference_stats": {
            "success": {"count": requests - errors},
            "fail": {"count": errors},
            "compute_infer": whole,
        },
        "batch_stats": [],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    kind = "STRING" if spec.dtype is DType.STRING else DATATYPES[spec.dtype]
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": list(spec.shape)}
