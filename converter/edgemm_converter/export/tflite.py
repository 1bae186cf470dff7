"""The TFLite export: float32 from the frozen source with builtin operations alone, other precisions from that file.

Imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from edgemm import library_errors
from edgemm.bundle.engine_facts import Engine
from edgemm.errors import ConversionError
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export.float_file import FloatFileExporter
from edgemm_converter.export.tflite_converter import FrozenConverter
from edgemm_converter.formats import layers
from edgemm_converter.sources.served_function import SourceFunction

_MAX_NAMED = 6


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


class TFLiteExporter(FloatFileExporter):
    """Makes the files of one source of TensorFlow."""

    def __init__(self, model: SourceFunction, calibration: InputSet | None) -> None:
        super().__init__(model, calibration, lambda: convert_float(model))


def layer_values(file: bytes, model: SourceFunction, inputs: Mapping[str, Array]) -> list[Array]:
    """Return every value that a file computes of a source's inputs at batch 1; see `targets.Target`."""
    named = {model.input_ids[name]: array[np.newaxis] for name, array in inputs.items()}
    return [run[0] for run in layers.values(file, named).values()]


def _reason(text: str, function: Any, model: SourceFunction) -> str:
    """Name the operations that stand in the converter's long message, with their layers, or say what it failed at."""
    kinds = list(dict.fromkeys(re.findall(r"\btf\.([A-Z]\w+)", text)))[:_MAX_NAMED]
    if kinds:
        return model.whence(kinds, function)
    return library_errors.plain(text, layer=lambda found: model.layer(found.node))
