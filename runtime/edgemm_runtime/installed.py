"""Which inference engines are installed here, told without importing any of them (or NumPy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from edgemm.manifest import Engine, Variant
from edgemm.versions import release_tuple


@dataclass(frozen=True)
class EngineEntry:
    """An engine's Python distribution, the module here that drives it, and the extra that installs it."""

    distribution: str
    module: str
    extra: str


ENGINES: Mapping[Engine, EngineEntry] = MappingProxyType(
    {
        Engine.TFLITE: EngineEntry("ai-edge-litert", "edgemm_runtime.engines.litert", "runtime"),
        Engine.ONNX: EngineEntry("onnxruntime", "edgemm_runtime.engines.onnxruntime", "onnx"),
    }
)


def available() -> dict[Engine, str]:
    """Return the version of each engine that is installed, without importing any."""
    found = {}
    for engine, entry in ENGINES.items():
        try:
            found[engine] = _version(entry.distribution)
        except PackageNotFoundError:
            continue
    return found


@cache
def _version(distribution: str) -> str:
    """Return what is installed; looked up once, for it takes as long as loading a small model."""
    return version(distribution)


def unavailable_reason(variant: Variant, engines: Mapping[Engine, str]) -> str | None:
    """Return why `variant` cannot run with these engines and versions, or None where it can."""
    entry, found = ENGINES[variant.engine], engines.get(variant.engine)
    if found is None:
        return f"needs {entry.distribution}, which is not installed: pip install 'edgemm[{entry.extra}]'"
    if release_tuple(found) < release_tuple(variant.minimum_engine):
        wanted = f"{entry.distribution}>={variant.minimum_engine}"
        return f"needs {wanted}, found {found}: pip install --upgrade '{wanted}'"
    return None
