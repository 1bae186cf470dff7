import pytest

from edgemm.errors import InputError
from edgemm_converter.job.variant_plan import plan


def ids(*targets: str, precisions: tuple[str, ...] = (), calibrated: bool = False) -> list[str]:
    return [p.id for p in plan(targets=targets, precisions=precisions, calibrated=calibrated)]


def test_without_options_both_engines_get_float32() -> None:
    assert ids() == ["tflite:float32", "onnx:float32"]


def test_calibration_data_add_int8_which_devices_prefer() -> None:
    assert ids(calibrated=True) == ["tflite:int8", "tflite:float32", "onnx:float32"]


def test_onnx_alone_stays_float32_with_calibration_data() -> None:
    assert ids("onnx", calibrated=True) == ["onnx:float32"]


def test_precisions_that_are_named_are_all_that_is_made() -> None:
    assert ids(precisions=("float16", "int8-dynamic")) == ["tflite:int8-dynamic", "tflite:float16"]


@pytest.mark.parametrize(
    ("targets", "precisions", "message"),
    [
        (("onnx",), ("int8",), "precision int8 is not supported for target onnx; supported are tflite: int8"),
        ((), ("int16x8",), "precision int16x8 needs --calibration"),
        (("onnx",), ("auto",), "precision auto searches among TFLite variants"),
        (("tflite", "onnx"), ("float16",), "target onnx supports none"),
        (("coreml",), (), "target 'coreml': expected one of tflite, onnx"),
        ((), ("int4",), "precision 'int4': expected one of"),
        ((), ("int8",), "needs --calibration"),
    ],
)
def test_what_cannot_be_made_is_refused(targets: tuple[str, ...], precisions: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ids(*targets, precisions=precisions)


def test_auto_is_searched_for_beside_what_else_is_wanted() -> None:
    assert ids(precisions=("auto",)) == ["onnx:float32"]
    assert ids("tflite", precisions=("auto",)) == []
    assert ids("tflite", precisions=("auto", "float16")) == ["tflite:float16"]
