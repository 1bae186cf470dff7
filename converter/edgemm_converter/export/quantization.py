"""The quantization of a float32 TFLite file to smaller precisions, by ai-edge-quantizer.

Google deprecates quantization inside TFLiteConverter, so the float file is made first and quantized here. A recipe is
data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import algorithm_manager, qtyping, recipe, recipe_manager
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from edgemm import library_errors
from edgemm.bundle.manifest import DType, Precision, VariantTensor
from edgemm.errors import ConversionError
from edgemm_converter.data.arrays import Array
from edgemm_converter.export import calibrated_ranges, learned_ranges, read_back
from edgemm_converter.export.learned_ranges import Learned
from edgemm_converter.export.read_back import Misfit
from edgemm_converter.formats import tflite_constants, tflite_file

_FAILURES = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_EDGES = {Precision.INT8: DType.INT8, Precision.INT16X8: DType.INT16}
_WEIGHTS = {
    Precision.INT8: "int8", Precision.INT8_DYNAMIC: "int8", Precision.INT8_WEIGHTS: "int8",
    Precision.INT16X8: "int8", Precision.INT4_WEIGHTS: "int4", Precision.FLOAT16: "float16", Precision.MIXED: "int8",
}  # fmt: skip
_INTEGERS = (Precision.INT8, Precision.INT16X8, Precision.MIXED)
"""Precisions whose activations are integers where there is calibration data."""

_LARGEST_WEIGHT = 127
_MENDINGS = 2
"""How often a file is quantized anew: once for what is found, and once for what that brings along."""

_FLOATS = (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64)


class Sides(Protocol):
    """The inputs and outputs of a file, by the signature's names."""

    @property
    def inputs(self) -> tuple[VariantTensor, ...]:
        """In the signature's order."""

    @property
    def outputs(self) -> tuple[VariantTensor, ...]:
        """In the signature's order."""


def quantize(
    file: bytes,
    precision: Precision,
    *,
    calibration: Mapping[str, Array] | None,
    float_layers: Collection[str] = (),
) -> bytes:
    """Return a float32 file in another precision; `calibration` has [runs, …] by the names in the file's signature.

    `float_layers` are the scopes (layers.py) that stay as they are; mixed precision is int8 around them, with integer
    activations where there is calibration data.

    Raises:
        ConversionError: the quantizer cannot do it, or a constant of the file would be something else than in `file`.
    """
    static = calibration is not None and precision in _INTEGERS
    learned = learned_ranges.taken_out(file) if static else Learned(file, {})
    work = _Work(learned, precision, calibration if static else None, set(float_layers))
    made, mendings = work.made(), 0
    while found := read_back.misfits(tflite_constants.read(made), tflite_constants.read(learned.file)):
        unmended = [m for m in found if not work.mend(m)] if mendings < _MENDINGS else found
        if unmended:
            raise ConversionError(
                f"TFLite {precision}: {unmended[0]}, and no scale mends that; leave this precision out, or change the "
                "layer"
            )
        made, mendings = work.made(), mendings + 1
    return _ended_as_signed(made, like=learned.file)


@dataclass
class _Work:
    """The quantization of one file, which can be repeated with other ranges and other layers in floats."""

    learned: Learned
    precision: Precision
    calibration: Mapping[str, Array] | None
    float_layers: set[str]
    ranges: Any = None

    def made(self) -> bytes:
        """Return the file in its precision.

        Raises:
            ConversionError: the quantizer fails.
        """
        static = self.calibration is not None
        try:
            loops = tuple(_in_loops(self.learned.file)) if static else ()
            given = _recipe(self.precision, static=static, float_layers=sorted(self.float_layers), loops=loops)
            quantizer = Quantizer(self.learned.file, given)
            if quantizer.need_calibration and self.ranges is None:
                self.ranges = calibrated_ranges.of(self.learned, quantizer, self.calibration)
            result = quantizer.quantize(deepcopy(self.ranges), enable_progress_bar=False, enable_progress_report=False)
        except _FAILURES as err:
            raise ConversionError(
                f"TFLite {self.precision}: the quantizer failed: {library_errors.plain(err)}; leave this precision out"
            ) from err
        return bytes(result.quantized_model or b"")

    def mend(self, misfit: Misfit) -> bool:
        """Prepare that a constant fits next time, by a wider scale of weights or a layer in floats; tell if it can."""
        bias = misfit.constant.bias
        if bias is not None and misfit.needed is not None:
            # A range that is given goes before the one of the weights themselves.
            name, bound = tflite_constants.original_name(bias.weights), _LARGEST_WEIGHT * misfit.needed
            bound = np.maximum(bound, self.ranges.get(name, {"max": 0})["max"]).astype(np.float32)
            self.ranges[name] = {"min": -bound, "max": bound}
            return True
        if not misfit.constant.half:
            return False
        self.float_layers |= {
            c.scope for c in tflite_constants.read(self.learned.file) if c.tensor == misfit.constant.tensor
        }
        return True


def _ended_as_signed(file: bytes, *, like: bytes) -> bytes:
    """Have the graph end in the tensors that its signature names, in the order of the file that it was made from.

    Where a float operation takes an output too, the quantizer ends the graph in a float copy of it.
    """
    if not file:
        return file
    data = bytearray(file)
    made, source = schema.Model.GetRootAs(data), schema.Model.GetRootAs(like)
    ends, before = made.Subgraphs(0).OutputsAsNumpy(), source.Subgraphs(0).OutputsAsNumpy()
    named, signed = _signed_outputs(made), {tensor: name for name, tensor in _signed_outputs(source).items()}
    for position, tensor in enumerate(before.tolist()):
        ends[position] = named[signed[tensor]]  # in place: the vector lies in `data`
    return bytes(data)


def _signed_outputs(model: Any) -> dict[bytes, int]:
    """Return the index of the tensor that the signature gives each name of an output."""
    signature = model.SignatureDefs(0)
    found = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return {output.Name(): output.TensorIndex() for output in found}


def _recipe(precision: Precision, *, static: bool, float_layers: Collection[str], loops: Collection[str]) -> Any:
    recipes: dict[Precision, Callable[[], Any]] = {
        Precision.INT8: recipe.static_wi8_ai8,
        Precision.INT8_DYNAMIC: recipe.dynamic_wi8_afp32,
        Precision.INT16X8: recipe.static_wi8_ai16,
        Precision.INT8_WEIGHTS: recipe.weight_only_wi8_afp32,
        Precision.INT4_WEIGHTS: recipe.weight_only_wi4_afp32,
        Precision.FLOAT16: _float16,
        Precision.MIXED: recipe.static_wi8_ai8 if static else recipe.dynamic_wi8_afp32,
    }
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipes[precision]())
    for scope in (*loops, *float_layers):
        manager.add_quantization_config(
            regex=f"^{re.escape(scope)}$",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    for scope in (scope for scope in loops if scope not in float_layers):
        manager.add_dynamic_config(
            regex=f"^{re.escape(scope)}$", operation_name=qtyping.TFLOperationName.FULLY_CONNECTED, num_bits=8
        )
    return manager.get_quantization_recipe()


def check_dtypes(tensors: Sides, floats: Sides, precision: Precision) -> None:
    """Check on the file itself that its inputs and outputs are integers where that was asked for, and float elsewhere.

    Raises:
        ConversionError: they are not.
    """
    if precision is Precision.MIXED:
        return  # a layer that stays float may be at the edge
    expected = _EDGES.get(precision, DType.FLOAT32)
    for tensor, source in zip(tensors.inputs + tensors.outputs, floats.inputs + floats.outputs, strict=True):
        wanted = expected if source.dtype in _FLOATS else source.dtype
        if tensor.dtype is not wanted or _unscaled(tensor, source):
            raise ConversionError(
                f"TFLite {precision}: tensor {tensor.name!r} of the file is {tensor.dtype}, expected {wanted}: an "
                "operation at the model's edge cannot be quantized; leave this precision out"
            )


def check_weights(file: bytes, precision: Precision) -> None:
    """Check on the file itself that it holds weights of the kind that was asked for.

    Raises:
        ConversionError: it has none.
    """
    names = _weight_types()
    found = {names[tensor.type] for tensor in _constants(file)}
    if (wanted := _WEIGHTS.get(precision)) is not None and wanted not in found:
        raise ConversionError(
            f"TFLite {precision}: the file has no {wanted} weights, found {', '.join(sorted(found)) or 'none'}: no "
            "layer of this model can be quantized so; leave this precision out"
        )


def _constants(file: bytes) -> Iterator[Any]:
    """Yield the tensors whose values are in the file."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    for graph in model.subgraphs:
        yield from (t for t in graph.tensors if tflite_file.content_bytes(model.buffers[t.buffer]))


def _in_loops(file: bytes) -> Iterator[str]:
    """Yield the scopes of what a file runs again and again, as recurrent layers do: its values stay float.

    Nobody sees them to calibrate them, and errors of rounding would add up from step to step; weights become integers.
    """
    for graph in schema.ModelT.InitFromPackedBuf(file, 0).subgraphs[1:]:
        edges = tfl_flatbuffer_utils.get_subgraph_input_output_operators(graph)
        yield from (tfl_flatbuffer_utils.get_op_scope(op, graph.tensors) for op in (*graph.operators, *edges))


def _weight_types() -> dict[int, str]:
    return {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}


def _unscaled(tensor: VariantTensor, source: VariantTensor) -> bool:
    return tensor.dtype not in _FLOATS and source.dtype in _FLOATS and tensor.quantization is None


def _float16() -> Any:
    """Return the recipe that keeps weights in half precision and computes in float32."""
    manager = recipe_manager.RecipeManager()
    manager.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return manager.get_quantization_recipe()
