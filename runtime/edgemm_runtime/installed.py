"""The inference engines that are installed here, found without importing any of them (or NumPy).

TFLite files run in LiteRT or, where that is not installed, in `tflite-runtime`, the last TensorFlow Lite for Python
before LiteRT: `edgemm.bundle.engine_facts` has the distributions of each engine, and how their versions compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from edgemm.bundle import unknowns
from edgemm.bundle.engine_facts import EngineDistribution, EngineFacts, all_engines, facts_of
from edgemm.bundle.manifest import DType, Variant
from edgemm.errors import EngineUnavailableError
from edgemm.versions import release_tuple


def entry_of(engine: str) -> EngineDistribution:
    """Return the distribution that runs an engine's files here; the preferred one where none is installed.

    Raises:
        EngineUnavailableError: nobody knows the engine.
    """
    return _running(_facts(engine))


def available() -> dict[str, str]:
    """Return the version of each engine that is installed, without importing any."""
    found = {facts.id: (one := _running(facts), _version(one)) for facts in all_engines()}
    return {engine: f"{one.before}{own}" for engine, (one, own) in found.items() if own is not None}


def named(engine: str, version_of_engine: str) -> tuple[EngineDistribution, str]:
    """Return the distribution that an engine's version is of, and its own: `0.2.14.0` → tflite-runtime 2.14.0.

    Raises:
        EngineUnavailableError: nobody knows the engine.
    """
    distributions = _facts(engine).distributions
    for one in distributions:
        if one.before and version_of_engine.startswith(one.before):
            return one, version_of_engine.removeprefix(one.before)
    return distributions[0], version_of_engine


def unavailable_reason(variant: Variant, engines: Mapping[str, str]) -> str | None:
    """Return why `variant` cannot run with these engines and versions, or None where it can."""
    if unknown := unknowns.of_variant(variant):
        return unknown
    if (text := _string_of(variant)) is not None and not _facts(variant.engine).strings:
        return f"has a tensor {text!r} of strings, which edgemm serves by ONNX Runtime alone: convert it for onnx"
    found = engines.get(variant.engine)
    if found is None:
        preferred = _facts(variant.engine).distributions[0]
        return f"needs {preferred.distribution}, which is not installed: pip install '{preferred.requirement}'"
    if release_tuple(found) >= release_tuple(variant.minimum_engine):
        return None
    here, own = named(variant.engine, found)
    oldest, minimum = named(variant.engine, variant.minimum_engine)
    wanted = f"{oldest.distribution}>={minimum}"
    if here == oldest:
        return f"needs {wanted}, found {own}: pip install --upgrade '{wanted}'"
    return f"needs {wanted}, found {here.distribution} {own}: pip install '{oldest.requirement}'"


def _string_of(variant: Variant) -> str | None:
    """Return the first tensor of strings; None where all are numbers."""
    tensors = (*variant.inputs, *variant.outputs)
    return next((tensor.name for tensor in tensors if tensor.dtype is DType.STRING), None)


def _facts(engine: str) -> EngineFacts:
    facts = facts_of(engine)
    if facts is None:
        raise EngineUnavailableError(f"engine {engine!r}: neither edgemm nor another installed package knows it")
    return facts


def _running(facts: EngineFacts) -> EngineDistribution:
    return next((one for one in facts.distributions if _version(one) is not None), facts.distributions[0])


def _version(one: EngineDistribution) -> str | None:
    return _version_of(one.distribution)


@cache
def _version_of(distribution: str) -> str | None:
    """Return what is installed; looked up once, for it takes as long as loading a small model."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
