"""Smaller TFLite files by ai-edge-quantizer, from the float32 file.

Google deprecates quantization inside TFLiteConverter, so float comes first and is quantized here. A recipe is data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ai_edge_quantizer import algorithm_manager, calibrator, qtyping, recipe, recipe_manager
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.utils import qsv_utils

from edgemm.errors import ConversionError
from edgemm.manifest import DType, Precision, VariantTensor
from edgemm_converter.arrays import Array
from edgemm_converter.tflite import FileTensors

_SIGNATURE = "serving_default"
_FAILURES = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
_FLOATS = (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64)


def quantize(file: bytes, precision: Precision, *, calibration: Mapping[str, Array] | None) -> bytes:
    """Return a float32 file in another precision; `calibration` has [runs, …] by the names in the file's signature.

    Raises:
        ConversionError: the quantizer cannot do it.
    """
    recipes: dict[Precision, Callable[[], Any]] = {
        Precision.INT8: recipe.static_wi8_ai8,
        Precision.INT8_DYNAMIC: recipe.dynamic_wi8_afp32,
        Precision.FLOAT16: _float16,
    }
    try:
        quantizer = Quantizer(file, recipes[precision]())
        ranges = _ranges(file, quantizer, calibration) if quantizer.need_calibration else None
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except _FAILURES as err:
        reason = " ".join(f"{type(err).__name__}: {err}".split())[:200]
        raise ConversionError(f"TFLite {precision}: the quantizer failed: {reason}; leave this precision out") from err
    return bytes(result.quantized_model or b"")


def check_dtypes(tensors: FileTensors, floats: FileTensors, precision: Precision) -> None:
    """Check on the file itself that what was float is int8 where that was asked for, and float elsewhere.

    Raises:
        ConversionError: it is not.
    """
    expected = DType.INT8 if precision is Precision.INT8 else DType.FLOAT32
    for tensor, source in zip(tensors.inputs + tensors.outputs, floats.inputs + floats.outputs, strict=True):
        wanted = expected if source.dtype in _FLOATS else source.dtype
        if tensor.dtype is not wanted or _unscaled(tensor, wanted, source):
            raise ConversionError(
                f"TFLite {precision}: tensor {tensor.name!r} of the file is {tensor.dtype}, expected {wanted}: an "
                "operation at the model's edge cannot be quantized; leave this precision out"
            )


def _unscaled(tensor: VariantTensor, wanted: DType, source: VariantTensor) -> bool:
    return wanted is DType.INT8 and source.dtype in _FLOATS and tensor.quantization is None


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


def _ranges(file: bytes, quantizer: Quantizer, calibration: Mapping[str, Array] | None) -> Any:
    """Return the range of each tensor over all calibration samples.

    The quantizer's own choice, a moving average of each sample's range, cuts off most of a small tensor's values.
    """
    assert calibration is not None
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(quantizer.get_quantization_recipe())
    runs = len(next(iter(calibration.values())))
    samples = [{name: array[i] for name, array in calibration.items()} for i in range(runs)]
    watcher = calibrator.Calibrator(file, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    watcher.calibrate({_SIGNATURE: samples}, recipes)
    return watcher.get_model_qsvs()
