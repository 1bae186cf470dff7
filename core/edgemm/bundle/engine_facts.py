"""The inference engines: one table of facts that the converter, devices and the fleet manager read.

    facts_of("tflite").suffix     # ".tflite"
    facts_of("hailo")             # None: a bundle may have variants for it, which are skipped

* An engine's id is the first part of its variants' ids, `tflite:int8`. Any word may be one: a bundle of a later edgemm
  names engines that are not in this table.
* Nothing here imports an engine. How one is opened and tested stands in `edgemm_runtime.engines.drivers`, how its files
  are made in `edgemm_converter.job.targets`.
* Another installed package adds an engine by entry points of its id in the groups `edgemm.engines`, `edgemm.drivers`
  and `edgemm.targets`: CONTRIBUTING.md has the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from edgemm import plugins
from edgemm.errors import EnvironmentFailure

GROUP = "edgemm.engines"
_log = logging.getLogger(__name__)


class Engine(StrEnum):
    """The engines that edgemm itself brings, by their ids."""

    TFLITE = "tflite"
    ONNX = "onnx"


@dataclass(frozen=True)
class EngineDistribution:
    """A Python distribution that runs an engine's files, and what is given to `pip install` for it.

    `before` stands before its own versions in the versions of the engine, which have one order: LiteRT counts anew from
    1.0, so what came before it counts from 0, and TensorFlow Lite 2.14.0 is 0.2.14.0.
    """

    distribution: str
    requirement: str
    before: str = ""


@dataclass(frozen=True)
class EngineFacts:
    """What is known of an engine without running it."""

    id: str
    suffix: str
    """How a plain model file's name ends, with the dot, in lower case."""

    media_type: str
    """Of a variant's blob."""

    platform: str
    """What the Open Inference Protocol calls it: framework_format."""

    distributions: tuple[EngineDistribution, ...]
    """In order of preference."""

    strings: bool = False
    """Whether it takes and gives tensors of strings."""


_BUILT_IN: Mapping[str, EngineFacts] = MappingProxyType(
    {
        Engine.TFLITE: EngineFacts(
            id=Engine.TFLITE,
            suffix=".tflite",
            media_type="application/x-tflite",
            platform="litert_tflite",
            distributions=(
                EngineDistribution("ai-edge-litert", "edgemm[runtime]"),
                EngineDistribution("tflite-runtime", "edgemm[tflite]", before="0."),
            ),
        ),
        Engine.ONNX: EngineFacts(
            id=Engine.ONNX,
            suffix=".onnx",
            media_type="application/onnx",
            platform="onnxruntime_onnx",
            distributions=(EngineDistribution("onnxruntime", "edgemm[onnx]"),),
            strings=True,
        ),
    }
)


def facts_of(engine: str) -> EngineFacts | None:
    """Return what is known of an engine; None of one that neither edgemm nor another installed package brings."""
    return _BUILT_IN.get(engine) or _added(engine)


def all_engines() -> Iterator[EngineFacts]:
    """Yield the facts of all engines, edgemm's own first."""
    yield from _BUILT_IN.values()
    yield from (facts for name in sorted(plugins.registered(GROUP)) if (facts := _added(name)) is not None)


def with_suffix(suffix: str) -> EngineFacts | None:
    """Return the engine whose plain files have a suffix, in lower case."""
    return next((facts for facts in all_engines() if facts.suffix == suffix), None)


def _added(engine: str) -> EngineFacts | None:
    """Return the facts that another package brings; a broken one takes nothing else with it."""
    if engine in _BUILT_IN:
        return None
    try:
        facts = plugins.load(GROUP, engine)
    except EnvironmentFailure as err:
        _log.warning("engine left out: %s", err)
        return None
    if facts is not None and not (isinstance(facts, EngineFacts) and facts.id == engine):
        _log.warning("engine left out engine=%s: its entry in %s is no EngineFacts of that id", engine, GROUP)
        return None
    return facts
