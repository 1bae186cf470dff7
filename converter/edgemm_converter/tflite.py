"""TFLite files: float32 from the frozen source with builtin operations alone, and what a file says of its tensors.

Imports TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert_phase import ConverterError

from edgemm.errors import ConversionError
from edgemm.manifest import DType, Quantization, VariantTensor
from edgemm.versions import release_tuple
from edgemm_converter.served import ServedModel

# LiteRT counts anew from 1.0, which had all that TensorFlow Lite 2.17 had; the file speaks of TensorFlow's numbers.
_TFLITE_OF_LITERT_1 = (2, 17)
_LITERT_1, _LITERT_2 = "1.0.0", "2.1.0"
_MAX_NAMED = 6


@dataclass(frozen=True)
class FileTensors:
    """The inputs and outputs of a model file, by the signature's names."""

    inputs: tuple[VariantTensor, ...]
    outputs: tuple[VariantTensor, ...]


def convert_float(model: ServedModel) -> bytes:
    """Return the float32 file; a variable batch becomes 1, which every kernel takes, and the engine loops over it.

    Raises:
        ConversionError: an operation is no TFLite builtin; names it.
    """
    module = model.frozen(batch=1)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]  # never Flex: no device engine runs it
    converter.allow_custom_ops = False
    try:
        return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError) as err:
        raise ConversionError(
            f"TFLite: the model cannot be expressed in builtin operations: {_reason(str(err))}; replace the layer they "
            "come from, fix variable dimensions, or leave TFLite out with --target onnx"
        ) from err


def describe(file: bytes, model: ServedModel) -> FileTensors:
    """Return the file's own tensors, found by the names in its signature.

    Raises:
        ConversionError: its signature has not the source's tensors.
    """
    runner = Interpreter(model_content=file).get_signature_runner()
    return FileTensors(
        _tensors(model.input_ids, runner.get_input_details(), what="inputs"),
        _tensors(model.output_ids, runner.get_output_details(), what="outputs"),
    )


def minimum_engine(file: bytes) -> str:
    """Return the oldest LiteRT that runs a file, from the metadata that the converter put into it."""
    flat = schema.ModelT.InitFromPackedBuf(file, 0)
    for entry in flat.metadata or ():
        if entry.name == b"min_runtime_version":
            text = bytes(flat.buffers[entry.buffer].data).rstrip(b"\0").decode("ascii", "replace")
            if (0,) < release_tuple(text)[:2] <= _TFLITE_OF_LITERT_1:
                return _LITERT_1
    return _LITERT_2


def _tensors(ids: Mapping[str, str], details: Mapping[str, Any], *, what: str) -> tuple[VariantTensor, ...]:
    if set(ids.values()) != set(details):
        raise ConversionError(
            f"TFLite: expected the {what} {sorted(ids.values())}, found {sorted(details)} in the file"
        )
    return tuple(_tensor(name, details[identifier]) for name, identifier in ids.items())


def _tensor(name: str, detail: Mapping[str, Any]) -> VariantTensor:
    scale, zero_point = detail["quantization"]
    return VariantTensor(
        name=name,
        tensor=detail["name"],
        dtype=DType(np.dtype(detail["dtype"]).name),
        shape=tuple(int(d) for d in detail["shape_signature"]),
        quantization=Quantization(scale=float(scale), zero_point=int(zero_point)) if scale else None,
    )


def _reason(text: str) -> str:
    """Name the operations that stand in the converter's long message, or give its first line."""
    operations = list(dict.fromkeys(re.findall(r"\btf\.([A-Z]\w+)", text)))
    layers = list(dict.fromkeys(re.findall(r'loc\(.*?"([\w/]+)"', text)))
    if not operations:
        return " ".join(text.split())[:200]
    named = ", ".join(operations[:_MAX_NAMED])
    return f"{named} (at {layers[-1]})" if layers else named
