"""The measurements for a report: the speed of each variant on this machine, and a comparison of its layers."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Manifest
from edgemm.errors import EngineError
from edgemm_converter.children import samples
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import Exported, ExportedVariant, LayerFacts, LayersRequest, Parted
from edgemm_converter.job import variant_plan
from edgemm_converter.report.facts import Speed
from edgemm_runtime.bench import measuring

_WORKER = "edgemm_converter.report.child"
_RUNS = 50


def speeds(bundle: Path, manifest: Manifest, *, limits: ChildLimits, progress: Progress) -> dict[str, Speed]:
    """Measure each variant in a process of its own; one that fails has no figures."""
    found = {}
    for variant in manifest.variants:
        progress(f"measuring {variant.id}")
        try:
            seen = measuring.measure_in_child(bundle, variant.id, runs=_RUNS, threads=1, timeout_s=limits.timeout_s)
        except EngineError:
            continue
        found[variant.id] = Speed(seen.p50_ms, seen.peak_rss_bytes)
    return found


def noise(exported: Exported) -> dict[str, float]:
    """Return by how much rounding alone moves each output of the source, at most over all sample sets."""
    found: dict[str, float] = {}
    for given in exported.sets:
        for name, moved in given.noise.items():
            found[name] = max(moved, found.get(name, 0.0))
    return found


def layers(
    exported: Exported, folder: Path, *, limits: ChildLimits, progress: Progress
) -> Mapping[str, Sequence[LayerFacts]]:
    """Compare the layers of each TFLite variant with the float file, where there is one."""
    files = {v.id: v for v in exported.variants if v.id.startswith(f"{Engine.TFLITE}:")}
    floats: ExportedVariant | None = files.pop(variant_plan.FLOATS.id, None)
    if floats is None or not files:
        return {}
    golden = samples.golden_set(exported.sets)
    request = LayersRequest(floats=floats, files={v.id: v.file for v in files.values()}, set=golden)
    return run_child(_WORKER, request, answer=Parted, folder=folder, limits=limits, progress=progress).layers


def machine() -> str:
    """Say what machine this is, without its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
