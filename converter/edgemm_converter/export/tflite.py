"""The TFLite export: float32 from the frozen source with builtin operations alone, other precisions from that file.

It also describes the tensors of a file. Imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert_phase import ConverterError

from edgemm import library_errors
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, VariantTensor
from edgemm.errors import ConversionError
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import quantization
from edgemm_converter.export.tflite_converter import FrozenConverter
from edgemm_converter.formats import layers, tflite_file
from edgemm_converter.job.targets import MadeFile
from edgemm_converter.sources.served_function import SourceFunction

_MAX_NAMED = 6


@dataclass(frozen=True)
class FileTensors:
    """The inputs and outputs of a model file, by the signature's names."""

    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]


def convert_float(model: SourceFunction) -> bytes:
    """Return the float32 file; a variable batch becomes 1, which every kernel takes, and the engine loops over it.

    Raises:
        ConversionError: an operation is no TFLite builtin; names it.
    """
    function = model.frozen(engine=Engine.TFLITE, batch=1).serve.get_concrete_function()
    converter = FrozenConverter.from_concrete_functions([function], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]  # never Flex: no device engine runs it
    converter.allow_custom_ops = False
    converter.canonicalizing_inf_as_min_max_float = False  # to which nothing infinite would be equal
    try:
        return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError) as err:
        raise ConversionError(
            f"TFLite: the model cannot be expressed in builtin operations: {_reason(str(err), function, model)}; "
            "replace the layer they come from, fix variable dimensions, or leave TFLite out with --target onnx"
        ) from err


class TFLiteExporter:
    """Makes the files of one source; the float file, which others are made from, is made once."""

    def __init__(self, model: SourceFunction, calibration: InputSet | None) -> None:
        self._model, self._calibration = model, calibration
        self._floats: bytes | None = None

    def make(self, precision: Precision) -> MadeFile:
        """Return the file of one variant; see `targets.Exporter`."""
        self._floats = self._floats or convert_float(self._model)
        described = describe(self._floats, self._model)
        file, tensors = self._floats, described
        if precision is not Precision.FLOAT32:
            file = quantization.quantize(self._floats, precision, calibration=self._named())
            if not file:
                raise ConversionError(f"TFLite {precision}: the quantizer gave an empty file; leave this precision out")
            tensors = describe(file, self._model)
            quantization.check_dtypes(tensors, described, precision)
            quantization.check_weights(file, precision)
        return MadeFile(file, tflite_file.minimum_engine(file), tensors.inputs, tensors.outputs)

    def _named(self) -> dict[str, Array] | None:
        """Return the calibration data by the names in the file's signature."""
        if self._calibration is None:
            return None
        return {self._model.input_ids[name]: array for name, array in self._calibration.arrays.items()}


def layer_values(file: bytes, model: SourceFunction, inputs: Mapping[str, Array]) -> list[Array]:
    """Return every value that a file computes of a source's inputs at batch 1; see `targets.Target`."""
    named = {model.input_ids[name]: array[np.newaxis] for name, array in inputs.items()}
    return [run[0] for run in layers.values(file, named).values()]


def describe(file: bytes, model: SourceFunction) -> FileTensors:
    """Return the file's own tensors, found by the names in its signature.

    Raises:
        ConversionError: its signature has not the source's tensors.
    """
    runner = Interpreter(model_content=file).get_signature_runner()
    return FileTensors(
        _tensors(model.input_ids, runner.get_input_details(), what="inputs"),
        _tensors(model.output_ids, runner.get_output_details(), what="outputs"),
    )


def _tensors(ids: Mapping[str, str], details: Mapping[str, Any], *, what: str) -> tuple[VariantTensor, ...]:
    if set(ids.values()) != set(details):
        raise ConversionError(
            f"TFLite: expected the {what} {sorted(ids.values())}, found {sorted(details)} in the file"
        )
    try:
        return tuple(tflite_file.tensor(name, details[identifier]) for name, identifier in ids.items())
    except ValueError as err:
        raise ConversionError(f"TFLite: the file cannot be served: {err}; leave this precision out") from err


def _reason(text: str, function: Any, model: SourceFunction) -> str:
    """Name the operations that stand in the converter's long message, with their layers, or say what it failed at."""
    kinds = list(dict.fromkeys(re.findall(r"\btf\.([A-Z]\w+)", text)))[:_MAX_NAMED]
    if kinds:
        return model.whence(kinds, function)
    return library_errors.plain(text, layer=lambda found: model.layer(found.node))
