"""Exports a Keras model of one dense layer, and reads finished files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgemm.bundle.manifest import DType, Precision, VariantTensor
from edgemm.errors import ConversionError
from edgemm_converter.job.targets import FinishedFile, MadeFile
from simulators.toy_engine.file import ToyFile, read


class ToyExporter:
    """An `Exporter`."""

    def __init__(self, model: Any, _calibration: object) -> None:
        self.model = model

    def make(self, _precision: Precision) -> MadeFile:
        layers = self.model.owner.layers
        if [type(layer).__name__ for layer in layers] != ["Dense"]:
            raise ConversionError("the toy engine has dense layers alone, one of them")
        [given], [made] = self.model.signature.inputs, self.model.signature.outputs
        file = ToyFile("into", "out", *layers[0].get_weights())
        inputs, outputs = _tensors(file, given.name, made.name)
        return MadeFile(file.write(), "1.0", inputs, outputs)


def read_finished(_path: Path, data: bytes, *, signature: str | None) -> FinishedFile:  # noqa: ARG001 - a file has one
    """A `Reader`."""
    file = read(data)
    return FinishedFile(Precision.FLOAT32, "1.0", *_tensors(file, file.input, file.output))


def _tensors(file: ToyFile, given: str, made: str) -> tuple[tuple[VariantTensor, ...], tuple[VariantTensor, ...]]:
    return (
        (VariantTensor(name=given, tensor=file.input, dtype=DType.FLOAT32, shape=(-1, file.kernel.shape[0])),),
        (VariantTensor(name=made, tensor=file.output, dtype=DType.FLOAT32, shape=(-1, file.kernel.shape[1])),),
    )
