"""The ONNX export: tf2onnx converts the frozen source. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

import onnx
import tf2onnx
from keras.src.export.tf2onnx_lib import patch_tf2onnx

from edgemm.bundle.manifest import DType, Engine, VariantTensor
from edgemm.errors import ConversionError
from edgemm_converter.export.onnx_canonical import canonicalize
from edgemm_converter.export.onnx_operations import keep_zeros_in_maxima, replace_unknown
from edgemm_converter.export.onnx_weights import put_in
from edgemm_converter.export.tflite import FileTensors
from edgemm_converter.sources.served_function import SourceFunction

OPSET = 17
MINIMUM_ENGINE = "1.12.0"
"""The first ONNX Runtime with opset 17."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_FAILURES = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_MAX_FILE_BYTES = 2**31 - 1


def convert(model: SourceFunction) -> bytes:
    """Return the ONNX file, with variable dimensions as in the signature.

    Raises:
        ConversionError: tf2onnx has no ONNX for an operation, or the file is over 2 GB.
    """
    frozen = model.frozen(engine=Engine.ONNX, batch=None)
    patch_tf2onnx()  # tf2onnx 1.17 uses names that NumPy 2 took away
    try:
        proto, _ = tf2onnx.convert.from_function(
            frozen.serve, input_signature=frozen.serve.input_signature, opset=OPSET
        )
    except _FAILURES as err:
        raise _refusal(" ".join(f"{type(err).__name__}: {err}".split())[:200]) from err
    put_in(proto, frozen.weights)
    replace_unknown(proto)
    keep_zeros_in_maxima(proto)
    if foreign := sorted({node.op_type for node in proto.graph.node if not _is_known(node)}):
        raise _refusal(f"no ONNX operation for {model.whence(foreign, frozen.serve.get_concrete_function())}")
    _name_dimensions(proto, model)
    canonicalize(proto)
    if proto.ByteSize() > _MAX_FILE_BYTES:
        raise _refusal("the file is over 2 GB")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as err:
        raise _refusal(" ".join(str(err).split())[:200]) from err
    return bytes(proto.SerializeToString(deterministic=True))


def describe(model: SourceFunction) -> FileTensors:
    """Return the file's own tensors: ONNX keeps the names, dtypes and shapes of the function."""
    ids = (model.input_ids, model.output_ids)
    sides = zip((model.signature.inputs, model.signature.outputs), ids, strict=True)
    inputs, outputs = (
        tuple(VariantTensor(name=s.name, tensor=names[s.name], dtype=DType(s.dtype), shape=s.shape) for s in specs)
        for specs, names in sides
    )
    return FileTensors(inputs, outputs)


def _is_known(node: Any) -> bool:
    return node.domain in _DOMAINS and (node.domain != "" or onnx.defs.has(node.op_type, max_inclusive_version=OPSET))


def _name_dimensions(proto: Any, model: SourceFunction) -> None:
    """Give variable dimensions names that say what they are, and check that the tensors are the source's."""
    for values, specs, ids in (
        (proto.graph.input, model.signature.inputs, model.input_ids),
        (proto.graph.output, model.signature.outputs, model.output_ids),
    ):
        by_name = {value.name: value for value in values}
        if set(by_name) != set(ids.values()):
            raise _refusal(f"expected the tensors {sorted(ids.values())}, found {sorted(by_name)} in the file")
        for spec in specs:
            identifier = ids[spec.name]
            dims = by_name[identifier].type.tensor_type.shape.dim
            for axis, (dim, wanted) in enumerate(zip(dims, spec.shape, strict=False)):
                if wanted == -1:
                    dim.dim_param = "batch" if axis == 0 else f"{identifier}_{axis}"
                else:
                    dim.dim_value = wanted


def _refusal(reason: str) -> ConversionError:
    return ConversionError(f"ONNX: {reason}; replace the layer it comes from, or leave ONNX out with --target tflite")
