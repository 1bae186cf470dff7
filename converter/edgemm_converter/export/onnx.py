"""The ONNX export: tf2onnx converts the frozen source. Imports TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tf2onnx
from keras.src.export.tf2onnx_lib import patch_tf2onnx

from edgemm import library_errors
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision
from edgemm.errors import ConversionError
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.export.onnx_canonical import canonicalize, file_tensors
from edgemm_converter.export.onnx_handlers import HANDLERS
from edgemm_converter.export.onnx_operations import keep_zeros_in_maxima, replace_unknown
from edgemm_converter.export.onnx_weights import put_in
from edgemm_converter.formats import onnx_flow
from edgemm_converter.job.targets import MadeFile
from edgemm_converter.sources.served_function import SourceFunction

OPSET = 17
MINIMUM_ENGINE = "1.12.0"
"""The first ONNX Runtime with opset 17."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_FAILURES = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_MAX_FILE_BYTES = 2**31 - 1


class OnnxExporter:
    """Makes the files of one source."""

    def __init__(self, model: SourceFunction, _calibration: InputSet | None) -> None:
        self._model = model

    def make(self, _precision: Precision) -> MadeFile:
        """Return the float32 file; see `targets.Exporter`."""
        model = self._model
        inputs, outputs = file_tensors(model.signature, model.input_ids, model.output_ids)
        file, layers = _converted(model)
        return MadeFile(file, MINIMUM_ENGINE, inputs, outputs, layers)


def layer_values(file: bytes, model: SourceFunction, inputs: Mapping[str, Array]) -> list[Array]:
    """Return every value that a file computes of a source's inputs at batch 1; see `targets.Target`."""
    proto = onnx.load_from_string(file)
    there = {value.name for value in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name and name not in there]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {model.input_ids[name]: array for name, array in inputs.items()})
    return [value for value in found if isinstance(value, np.ndarray)]


def convert(model: SourceFunction) -> bytes:
    """Return the ONNX file, with variable dimensions as in the signature.

    Raises:
        ConversionError: tf2onnx has no ONNX for an operation, or the file is over 2 GB.
    """
    return _converted(model)[0]


def _converted(model: SourceFunction) -> tuple[bytes, dict[str, str]]:
    """Return the ONNX file, and the layers of its nodes by their names in it."""
    frozen = model.frozen(engine=Engine.ONNX, batch=None)
    patch_tf2onnx()  # tf2onnx 1.17 uses names that NumPy 2 took away
    try:
        proto, _ = tf2onnx.convert.from_function(
            frozen.serve, input_signature=frozen.serve.input_signature, opset=OPSET,
            custom_op_handlers=dict(HANDLERS),
        )  # fmt: skip
    except _FAILURES as err:
        raise _refusal(library_errors.plain(err, layer=lambda found: model.layer(found.node))) from err
    put_in(proto, frozen.weights)
    replace_unknown(proto)
    keep_zeros_in_maxima(proto)
    if foreign := sorted({node.op_type for node in onnx_flow.all_nodes(proto) if not _is_known(node)}):
        raise _refusal(f"no ONNX operation for {model.whence(foreign, frozen.serve.get_concrete_function())}")
    _name_dimensions(proto, model)
    nodes = canonicalize(proto)
    if proto.ByteSize() > _MAX_FILE_BYTES:
        raise _refusal("the file is over 2 GB")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as err:
        raise _refusal(library_errors.plain(err)) from err
    layers = {new: model.layer(re.sub(r"__\d+$", "", old)) for new, old in nodes.items() if "/" in old}
    return bytes(proto.SerializeToString(deterministic=True)), layers


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
