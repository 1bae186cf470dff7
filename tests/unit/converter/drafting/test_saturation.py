"""Values that quantized inputs cut off, counted per input and data."""

from __future__ import annotations

import numpy as np

from edgemm.bundle.manifest import DType, Precision, Quantization, Variant, VariantTensor
from edgemm_converter.drafting import saturation

INT8 = Quantization(scale=0.1, zero_point=-28)
"""From -10 to 15.5."""


def variant(precision: Precision, dtype: DType, quantization: Quantization | None) -> Variant:
    tensor = VariantTensor(name="x", tensor="x:0", dtype=dtype, shape=(1, 2), quantization=quantization)
    return Variant(
        id=f"tflite:{precision}", engine="tflite", precision=precision, minimum_engine="2.1.0", blob="a" * 64,
        inputs=(tensor,), outputs=(tensor,),
    )  # fmt: skip


QUANTIZED = variant(Precision.INT8, DType.INT8, INT8)


def warned(*variants: Variant, values: list[float], calibration: list[float] | None = None) -> list[str]:
    given = None if calibration is None else {"x": np.array(calibration)}
    data = {"evaluation data": {"x": np.array(values)}}
    return list(
        saturation.warnings(variants, data, calibration=given, calibrated=[v.id for v in variants if given is not None])
    )


def test_values_beyond_what_the_integers_hold_are_counted() -> None:
    (said,) = warned(QUANTIZED, values=[-11.0, 0.0, 3.0, 20.0])
    assert said == (
        "tflite:int8 cuts off 2 of 4 values (50.0%) of input 'x' in the evaluation data: it holds -10 to 15.5, these "
        "reach -11 to 20; give --calibration data of the same input that span what a device sees"
    )


def test_a_small_share_and_rounding_at_the_ends_pass() -> None:
    assert warned(QUANTIZED, values=[-10.05, 15.55] * 10) == []
    assert warned(QUANTIZED, values=[0.0] * 199 + [20.0]) == []
    assert len(warned(QUANTIZED, values=[0.0] * 90 + [20.0])) == 1


def test_the_variant_that_cuts_off_most_is_named() -> None:
    wider = variant(Precision.INT16X8, DType.INT16, Quantization(scale=15.5 / 32767, zero_point=0))
    assert warned(wider, QUANTIZED, values=[-11.0, -12.0, 20.0])[0].startswith("tflite:int8 cuts off 3 of 3")


def test_floats_hold_everything_unless_layers_behind_them_were_calibrated() -> None:
    mixed = variant(Precision.MIXED, DType.FLOAT32, None)
    assert warned(mixed, values=[20.0]) == []
    assert warned(mixed, values=[20.0, 1.0], calibration=[-1.0, 5.0])[0].startswith("tflite:mixed cuts off 1 of 2")


def test_answers_beyond_what_the_integers_of_an_output_hold_are_counted() -> None:
    answers = {"evaluation data": {"x": np.array([-11.0, 0.0, 3.0, 20.0])}}
    (said,) = saturation.warnings([QUANTIZED], {}, calibration=None, calibrated=[], outputs=answers)
    assert said == (
        "tflite:int8 cuts off 2 of 4 values (50.0%) of output 'x' in the source's answers to the evaluation data: it "
        "holds -10 to 15.5, these reach -11 to 20; give --calibration data that span what a device sees"
    )
