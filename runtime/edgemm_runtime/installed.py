"""The inference engines that are installed here, found without importing any of them (or NumPy).

TFLite files run in LiteRT or, where that is not installed, in `tflite-runtime`, the last TensorFlow Lite for Python
before LiteRT. LiteRT's versions start again at 1.0. The versions of its predecessor start at 0 here, so that versions
of `tflite` have one order wherever they are compared: TensorFlow Lite 2.14.0 is 0.2.14.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from edgemm.bundle.manifest import Engine, Variant
from edgemm.versions import release_tuple


@dataclass(frozen=True)
class EngineEntry:
    """A Python distribution that runs an engine's files, the module here that drives it, the extra that installs it.

    `before` is what its own versions are preceded by in the versions of the engine.
    """

    distribution: str
    module: str
    extra: str
    before: str = ""


ENGINES: Mapping[Engine, tuple[EngineEntry, ...]] = MappingProxyType(
    {
        Engine.TFLITE: (
            EngineEntry("ai-edge-litert", "edgemm_runtime.engines.litert", "runtime"),
            EngineEntry("tflite-runtime", "edgemm_runtime.engines.litert", "tflite", before="0."),
        ),
        Engine.ONNX: (EngineEntry("onnxruntime", "edgemm_runtime.engines.onnxruntime", "onnx"),),
    }
)
"""The distributions of each engine, in order of preference."""


def entry_of(engine: Engine) -> EngineEntry:
    """Return the distribution that runs an engine's files here; the preferred one where none is installed."""
    return next((entry for entry in ENGINES[engine] if _version(entry) is not None), ENGINES[engine][0])


def available() -> dict[Engine, str]:
    """Return the version of each engine that is installed, without importing any."""
    found = {engine: (entry := entry_of(engine), _version(entry)) for engine in ENGINES}
    return {engine: f"{entry.before}{own}" for engine, (entry, own) in found.items() if own is not None}


def named(engine: Engine, version_of_engine: str) -> tuple[EngineEntry, str]:
    """Return the distribution that an engine's version is of, and its own: `0.2.14.0` → tflite-runtime 2.14.0."""
    for entry in ENGINES[engine]:
        if entry.before and version_of_engine.startswith(entry.before):
            return entry, version_of_engine.removeprefix(entry.before)
    return ENGINES[engine][0], version_of_engine


def unavailable_reason(variant: Variant, engines: Mapping[Engine, str]) -> str | None:
    """Return why `variant` cannot run with these engines and versions, or None where it can."""
    preferred, found = ENGINES[variant.engine][0], engines.get(variant.engine)
    if found is None:
        return f"needs {preferred.distribution}, which is not installed: pip install 'edgemm[{preferred.extra}]'"
    if release_tuple(found) >= release_tuple(variant.minimum_engine):
        return None
    here, own = named(variant.engine, found)
    oldest, minimum = named(variant.engine, variant.minimum_engine)
    wanted = f"{oldest.distribution}>={minimum}"
    if here == oldest:
        return f"needs {wanted}, found {own}: pip install --upgrade '{wanted}'"
    return f"needs {wanted}, found {here.distribution} {own}: pip install 'edgemm[{oldest.extra}]'"


def _version(entry: EngineEntry) -> str | None:
    return _version_of(entry.distribution)


@cache
def _version_of(distribution: str) -> str | None:
    """Return what is installed; looked up once, for it takes as long as loading a small model."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
