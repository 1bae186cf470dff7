import numpy as np
import pytest

from edgemm.bundle.manifest import Drop, Evaluation
from edgemm.errors import AccuracyError
from edgemm_converter.drafting import findings

FOUND = Evaluation(
    metric="accuracy", samples=45, data="e" * 64, source=0.95,
    variants={"tflite:int8": 0.91, "tflite:float32": 0.95},
    drops={
        "tflite:int8": Drop(value=0.04, low=-0.03, high=0.13),
        "tflite:float32": Drop(value=0.0, low=-0.08, high=0.08),
    },
)  # fmt: skip


def test_a_drop_over_the_budget_says_which_variant_and_by_how_much() -> None:
    findings.check_drops(FOUND, max_drop=0.04)
    with pytest.raises(AccuracyError, match=r"tflite:int8: accuracy is 0\.9100.*so 0\.0300 too much; no bundle"):
        findings.check_drops(FOUND, max_drop=0.01)


def test_few_samples_are_warned_of() -> None:
    def warn(max_drop: float | None) -> tuple[str, ...]:
        return findings.warnings(calibration=None, evaluated=None, evaluation=FOUND, max_drop=max_drop)

    assert warn(None) == warn(0.2) == ()
    assert "45 samples cannot show that tflite:int8 stays within a drop of 0.05" in warn(0.05)[0]


def test_outputs_that_do_not_vary_show_nothing() -> None:
    noise = np.random.default_rng(0).random((12, 1, 3))
    saturated = np.broadcast_to([1.0, 0.0, 0.0], (12, 1, 3)) + 1e-12 * noise

    def warn(*outputs: np.ndarray, real: bool = False) -> tuple[str, ...]:
        data = {"x": np.zeros((200, 1))} if real else None
        return findings.warnings(
            calibration=data, evaluated=None, evaluation=None, max_drop=None,
            compared=[{"scores": output} for output in outputs],
        )  # fmt: skip

    assert "output 'scores' of the source hardly varies" in warn(saturated, saturated)[0]
    assert "give real ones with --calibration" in warn(saturated)[0]
    assert "give more varied ones with --calibration" in warn(saturated, real=True)[0]
    assert warn(saturated, noise) == ()


def test_few_calibration_samples_are_warned_of() -> None:
    def warn(count: int, *variants: str) -> tuple[str, ...]:
        return findings.warnings(
            calibration={"x": np.eye(count, 2)}, evaluated=None, evaluation=None, max_drop=None, calibrated=variants
        )

    assert warn(3, "tflite:int8")[0].startswith("3 calibration samples set the ranges of tflite:int8: ")
    assert warn(100, "tflite:int8") == warn(3) == ()


def test_samples_in_both_sets_are_warned_of() -> None:
    data = np.random.default_rng(0).normal(size=(10, 1, 3))
    found = findings.warnings(
        calibration={"x": data[:6]}, evaluated={"x": data[4:]}, evaluation=None, max_drop=None
    )  # fmt: skip
    assert found[0].startswith("2 of 6 evaluation samples are calibration samples too")


def test_calibration_data_that_were_swapped_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    real = {"load": rng.random((200, 4)), "wind": 8 * rng.random((200, 4))}

    def warn(calibration: dict[str, np.ndarray]) -> tuple[str, ...]:
        return findings.warnings(calibration=calibration, evaluated=real, evaluation=None, max_drop=None)

    assert warn({name: 0.9 * array for name, array in real.items()}) == ()
    (said,) = warn({"load": real["wind"] * 0.9, "wind": real["load"] * 0.9})
    assert said.startswith("the calibration data of inputs 'load' and 'wind' look swapped")
