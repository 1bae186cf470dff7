import numpy as np
import pytest

from edgemm.bundle.manifest import Precision, Statistic
from edgemm.errors import ParityError
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import parity

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=(64, 1, 10)).astype(np.float32)
PROBABILITIES = (np.exp(4 * LOGITS) / np.exp(4 * LOGITS).sum(axis=-1, keepdims=True)).astype(np.float32)


def judge(source: Array, found: Array, precision: Precision, *, step: float = 0.0, noise: float = 0.0) -> None:
    limit = parity.LIMITS[precision]
    share = parity.allowed_share(limit, source, step=step, noise=noise)
    parity.judge(
        "tflite:x", parity.compare("digit", source, found), statistic=limit.statistic, share=share, source=source,
        noise=noise, data="random",
    )  # fmt: skip


def test_figures_of_a_known_difference() -> None:
    source = np.array([[[0.0, 1.0]], [[4.0, 2.0]]])
    found = source + np.array([[[0.0, 0.5]], [[0.0, 0.0]]])
    figures = parity.compare("y", source, found)
    assert (figures.max_abs, figures.mean_abs, figures.range, figures.relative) == (0.5, 0.125, 4.0, 0.125)
    assert figures.cosine == pytest.approx(1.0)
    assert figures.argmax_agreement is None


def test_argmax_is_compared_for_probabilities_only() -> None:
    swapped = PROBABILITIES.copy()
    swapped[:16] = swapped[:16, :, ::-1]
    assert parity.compare("y", PROBABILITIES, swapped).argmax_agreement == pytest.approx(0.75, abs=0.05)
    assert parity.compare("y", LOGITS, LOGITS).argmax_agreement is None


def test_rounding_passes_at_every_precision() -> None:
    for precision in parity.LIMITS:
        judge(LOGITS, LOGITS * np.float32(1 + 1e-6), precision)


@pytest.mark.parametrize("precision", list(parity.LIMITS))
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda y: y[..., ::-1], id="classes reversed"),
        pytest.param(np.zeros_like, id="zeros"),
        pytest.param(lambda y: np.full_like(y, y.mean()), id="constant"),
        pytest.param(lambda y: y[::-1], id="another sample's answer"),
    ],
)
def test_wrong_outputs_fail_at_every_precision(precision: Precision, wrong: object) -> None:
    assert callable(wrong)
    for source in (LOGITS, PROBABILITIES):
        with pytest.raises(ParityError, match="tflite:x, output 'digit': the (max|mean) error on random data is"):
            judge(source, wrong(source), precision)


def test_one_wrong_element_fails_float32() -> None:
    found = LOGITS.copy()
    found[7, 0, 3] += 0.01
    with pytest.raises(ParityError, match=r"is 0\.01, expected at most 0\.000"):
        judge(LOGITS, found, Precision.FLOAT32)


def test_one_sample_at_a_decision_boundary_does_not_fail_int8() -> None:
    found = PROBABILITIES.copy()
    found[7] = found[7, :, ::-1]
    judge(PROBABILITIES, found, Precision.INT8)


def test_the_quantization_step_of_the_output_is_allowed() -> None:
    flat = np.full((8, 1, 3), 1 / 3) + RNG.normal(size=(8, 1, 3)) * 1e-5
    judge(flat, np.full_like(flat, 86 / 256), Precision.INT8, step=1 / 256)


def test_noise_of_the_source_widens_the_limit_but_not_without_end() -> None:
    found = LOGITS + np.float32(5e-4 * np.ptp(LOGITS))
    with pytest.raises(ParityError):
        judge(LOGITS, found, Precision.FLOAT32)
    judge(LOGITS, found, Precision.FLOAT32, noise=1e-3)
    with pytest.raises(ParityError):
        judge(LOGITS, LOGITS + np.float32(0.1), Precision.FLOAT32, noise=1e9)


def test_a_source_that_rounding_turns_over_is_told_to_be_the_cause() -> None:
    found = LOGITS + np.float32(1)
    with pytest.raises(ParityError, match=r"answer moves by 2 where only the last bits of its inputs change"):
        judge(LOGITS, found, Precision.FLOAT32, noise=2.0)
    with pytest.raises(ParityError, match="report the model"):
        judge(LOGITS, found, Precision.FLOAT32, noise=1e-6)


def test_a_constant_output_is_held_to_its_magnitude() -> None:
    source = np.full((4, 1, 2), 1000.0, np.float32)
    judge(source, np.nextafter(source, np.float32(np.inf)), Precision.FLOAT32)
    with pytest.raises(ParityError):
        judge(source, source + np.float32(0.1), Precision.FLOAT32)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_no_number_fails(bad: float) -> None:
    found = LOGITS.copy()
    found[0, 0, 0] = bad
    with pytest.raises(ParityError, match="NaN or infinite"):
        parity.check_finite({"digit": found}, whose="tflite:x", data="random")


def test_nan_never_passes_a_comparison() -> None:
    found = LOGITS.copy()
    found[0, 0, 0] = np.nan
    with pytest.raises(ParityError):
        judge(LOGITS, found, Precision.FLOAT32)


def test_statistics_are_documented_per_precision() -> None:
    assert parity.LIMITS[Precision.FLOAT32] == parity.ParityLimit(Statistic.MAX, 1e-4)


def test_values_that_are_no_numbers_are_counted() -> None:
    found = np.zeros((1, 1, 1_000_000), np.float32)
    found[..., :3] = np.inf
    with pytest.raises(ParityError, match=r"tflite:x, output 'y': 3 of 1,000,000 values on random data are NaN or inf"):
        parity.check_finite({"y": found}, whose="tflite:x", data="random")


def test_every_figure_of_a_finite_output_is_finite() -> None:
    tiny, huge = np.full((2, 1, 2), 5e-324), np.full((2, 1, 2), 1e300)
    for source, found in ((tiny * [0, 1], huge), (huge, huge), (huge * [0, 1], -huge), (tiny, tiny * 0)):
        figures = parity.compare("y", source, found)
        assert np.isfinite([figures.max_abs, figures.mean_abs, figures.range, figures.relative, figures.cosine]).all()
    assert parity.compare("y", huge, huge).cosine == pytest.approx(1.0)


def test_an_output_of_no_width_agrees() -> None:
    nothing = np.zeros((3, 1, 0), np.float32)
    judge(nothing, nothing, Precision.FLOAT32)


def test_rounding_excuses_no_mean_error_like_that_of_a_constant() -> None:
    limit = parity.LIMITS[Precision.INT8]
    assert parity.allowed_share(limit, LOGITS, step=0.0, noise=100.0) == pytest.approx(0.1)
