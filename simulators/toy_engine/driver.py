"""How the engine's files are opened: a `Driver`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgemm.bundle.manifest import Variant
from edgemm.errors import EngineError
from edgemm_runtime.engines.drivers import Described, FileTensor
from edgemm_runtime.engines.pacing import Rest, no_rest
from simulators.toy_engine.file import Floats, ToyFile, read


def open_session(variant: Variant, model: bytes, _threads: int) -> ToySession:
    file = _read(model)
    if [t.tensor for t in (*variant.inputs, *variant.outputs)] != [file.input, file.output]:
        raise EngineError("the file has other tensors than the manifest")
    return ToySession(file)


def describe(model: bytes) -> Described:
    file = _read(model)
    shapes = (None, file.kernel.shape[0]), (None, file.kernel.shape[1])
    return (FileTensor(file.input, "float32", shapes[0]),), (FileTensor(file.output, "float32", shapes[1]),)


def probe_model() -> bytes:
    kernel = np.linalg.lstsq(PROBED, np.array([[-2, 4, -6]]), rcond=None)[0].astype(np.float32)
    return ToyFile("x", "y", kernel, np.zeros(3, np.float32)).write()


PROBED = np.array([[1, -2, 3, -4]])


class ToySession:
    """A `Session`."""

    members = 1

    def __init__(self, file: ToyFile) -> None:
        self.file = file

    def invoke(self, feeds: Mapping[str, Floats]) -> dict[str, Floats]:
        return {self.file.output: feeds[self.file.input] @ self.file.kernel + self.file.bias}

    def widen(self, feeds: Mapping[str, Any]) -> None:
        """One thread computes it."""

    def narrow(self) -> None:
        """Nothing to take back."""

    def give_up(self, thread: int) -> None:
        """Nothing is held."""

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        """Any number of threads may compute it."""


def _read(model: bytes) -> ToyFile:
    try:
        return read(model)
    except (ValueError, KeyError, zipfile.BadZipFile) as err:
        raise EngineError(f"the toy engine cannot load the file: {err}") from err
