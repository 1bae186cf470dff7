"""What Triton's clients ask about models beside the protocol's core: statistics, index and configuration. Pure.

Source: the statistics, model repository and model configuration extensions of the Open Inference Protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgemm.manifest import Manifest, TensorSpec, Variant
from edgemm_runtime.serving.counters import CounterSnapshot
from edgemm_runtime.serving.v2 import DATATYPES, platform


def statistics(snapshots: Iterable[CounterSnapshot]) -> dict[str, Any]:
    """Return counts and nanoseconds since the process started, of each model and version that served.

    What is not measured apart (queueing, copying inputs and outputs) is left out rather than called 0.
    """
    return {"model_stats": [_statistics(name, version, of) for (name, version), of in _by_version(snapshots).items()]}


def index(models: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Return name, version and state of each model; `models` has no version where it is still to come."""
    return [
        {"name": name, "version": version or "", "state": "READY" if version else "LOADING", "reason": ""}
        for name, version in sorted(models.items())
    ]


def configuration(name: str, manifest: Manifest, variant: Variant) -> dict[str, Any]:
    """Return a model as Triton configures one; batches are part of the shapes, so `max_batch_size` is 0."""
    signature = manifest.signature
    return {
        "name": name,
        "platform": platform(variant.engine),
        "backend": variant.engine.value,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 0,
        "input": [_tensor(spec) for spec in signature.inputs],
        "output": [_tensor(spec) for spec in signature.outputs],
        "parameters": {"variant": {"string_value": variant.id}},
    }


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
    return {"name": spec.name, "data_type": f"TYPE_{DATATYPES[spec.dtype]}", "dims": list(spec.shape)}
