import numpy as np

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import DType, Precision, Quantization, Variant, VariantTensor
from edgemm_converter.judging import golden_tolerance

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(16, 1, 10))
SOURCE = np.exp(3 * LOGITS) / np.exp(3 * LOGITS).sum(axis=-1, keepdims=True)
STEP = 1 / 256


def variant(precision: Precision) -> Variant:
    quantized = precision is Precision.INT8
    tensor = VariantTensor(
        name="digit", tensor="t", dtype=DType.INT8 if quantized else DType.FLOAT32, shape=(1, 10),
        quantization=Quantization(scale=STEP, zero_point=-128) if quantized else None,
    )  # fmt: skip
    return Variant(
        id=f"tflite:{precision}", engine=Engine.TFLITE, precision=precision, minimum_engine="2.1", blob="0" * 64,
        inputs=(), outputs=(tensor,),
    )  # fmt: skip


def test_int8_allows_two_quantization_steps_beyond_what_was_measured() -> None:
    found = SOURCE + 0.01
    tolerance = golden_tolerance.tolerances(variant(Precision.INT8), {"digit": SOURCE}, {"digit": found}, noise={})[
        "digit"
    ]
    assert tolerance.max_abs >= 0.01 + 2 * STEP
    assert tolerance.min_argmax_agreement == 1 - 2 / 16


def test_float32_is_tight_and_wants_every_class_right() -> None:
    tolerance = golden_tolerance.tolerances(variant(Precision.FLOAT32), {"digit": SOURCE}, {"digit": SOURCE}, noise={})[
        "digit"
    ]
    assert 3e-5 < tolerance.max_abs < 2e-4
    assert tolerance.min_argmax_agreement == 1.0


def test_a_source_that_rounding_moves_gets_more() -> None:
    found = golden_tolerance.tolerances(
        variant(Precision.FLOAT32), {"digit": SOURCE}, {"digit": SOURCE}, noise={"digit": 0.01}
    )
    assert found["digit"].max_abs == 0.02


def test_scrambled_outputs_are_far_outside_every_tolerance() -> None:
    scrambled = SOURCE[:, :, RNG.permutation(10)]
    for precision in (Precision.FLOAT32, Precision.FLOAT16, Precision.INT8, Precision.INT8_DYNAMIC):
        tolerance = golden_tolerance.tolerances(variant(precision), {"digit": SOURCE}, {"digit": SOURCE}, noise={})[
            "digit"
        ]
        assert np.abs(scrambled - SOURCE).max() > 10 * tolerance.max_abs


def test_outputs_that_are_no_distribution_have_no_argmax_rule() -> None:
    found = golden_tolerance.tolerances(variant(Precision.FLOAT32), {"digit": LOGITS}, {"digit": LOGITS}, noise={})
    assert found["digit"].min_argmax_agreement is None


def test_noise_that_is_infinite_leaves_a_tolerance_that_is_a_number() -> None:
    found = golden_tolerance.tolerances(
        variant(Precision.FLOAT32), {"digit": SOURCE}, {"digit": SOURCE}, noise={"digit": np.inf}
    )
    assert found["digit"].max_abs <= 2 * (SOURCE.max() - SOURCE.min())
