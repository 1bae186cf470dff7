"""The engines' drivers: one table of the modules that open model files, of which only what is used is imported.

    session = driver_of("tflite").open_session(variant, data, threads=1)

Another installed package adds a driver by an entry point in the group `edgemm.drivers`, named after its engine, whose
value is a module like those here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias, cast

from edgemm import library_errors, plugins
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Variant
from edgemm.errors import EngineUnavailableError, EnvironmentFailure
from edgemm_runtime.engines.interface import Session
from edgemm_runtime.installed import entry_of

GROUP = "edgemm.drivers"
_BUILT_IN: Mapping[str, str] = MappingProxyType(
    {Engine.TFLITE: "edgemm_runtime.engines.litert", Engine.ONNX: "edgemm_runtime.engines.onnxruntime"}
)


class FileTensor(NamedTuple):
    """A tensor as a plain model file describes it: NumPy's name of its dtype, and sizes, which need not be numbers."""

    name: str
    dtype: str
    shape: tuple[object, ...]


Described: TypeAlias = tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]
"""Inputs and outputs."""


class Driver(Protocol):
    """A module that drives one engine."""

    def open_session(self, variant: Variant, model: bytes, threads: int) -> Session:
        """Load a model file by its own tensors.

        Raises:
            EngineError: it is damaged, or lacks a tensor of `variant`.
        """

    def describe(self, model: bytes) -> Described:
        """Return the tensors of a plain model file.

        Raises:
            EngineError: it is damaged.
        """

    def probe_model(self) -> bytes:
        """Return a model of one dense layer, float32[1, 4] → float32[1, 3]: the one that `engines.probe` expects."""


class KernelDriver(Driver, Protocol):
    """A driver that tells kernels apart, and opens files with others; golden samples are made for both."""

    def kernels_model(self) -> bytes:
        """Return a model of one dense layer, float32[1, 24] → float32[1, 8], whose sums are no round numbers."""

    def open_others(self, variant: Variant, model: bytes) -> Iterator[Session]:
        """Load a model file with each of the other correct kernels that the engine has, the quicker ones first.

        Raises:
            EngineError: these lack an operation, or the file is damaged.
        """


def driver_of(engine: str) -> Driver:
    """Import the driver of an engine.

    Raises:
        EngineUnavailableError: nobody brings one, or the engine does not import.
    """
    _keep_to_itself()
    try:
        module = _BUILT_IN.get(engine)
        found = plugins.load(GROUP, engine) if module is None else importlib.import_module(module)
    except (ImportError, EnvironmentFailure) as err:
        why = library_errors.quoted(err)
        raise EngineUnavailableError(
            f"{entry_of(engine).distribution} is installed but does not import ({why}): reinstall it"
        ) from err
    if found is None:
        raise EngineUnavailableError(f"engine {engine!r} has no driver here: install the package that brings it")
    return cast("Driver", found)


def _keep_to_itself() -> None:
    """Have engines tell nobody what they load; before one is imported.

    ONNX Runtime from 1.29 on tells its maker what models it loads, unless this is set.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
