"""The TFLite export: a float32 file from the frozen source, with builtin operations alone.

It also describes the tensors of a file. Imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert_phase import ConverterError

from edgemm.bundle.manifest import Engine, VariantTensor
from edgemm.errors import ConversionError
from edgemm_converter.export.tflite_converter import FrozenConverter
from edgemm_converter.formats import tflite_file
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
    try:
        return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError) as err:
        raise ConversionError(
            f"TFLite: the model cannot be expressed in builtin operations: {_reason(str(err), function, model)}; "
            "replace the layer they come from, fix variable dimensions, or leave TFLite out with --target onnx"
        ) from err


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
    return tuple(tflite_file.tensor(name, details[identifier]) for name, identifier in ids.items())


def _reason(text: str, function: Any, model: SourceFunction) -> str:
    """Name the operations that stand in the converter's long message, with their layers, or give its first line."""
    kinds = list(dict.fromkeys(re.findall(r"\btf\.([A-Z]\w+)", text)))[:_MAX_NAMED]
    return model.whence(kinds, function) if kinds else " ".join(text.split())[:200]
