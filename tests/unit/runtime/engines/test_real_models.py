"""The reference models of MLPerf Tiny on their real data, against figures that were measured without this code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import DType, Precision, Quantization, Signature, TensorSpec, Variant, VariantTensor
from edgemm_runtime import engines
from edgemm_runtime.engines import LoadedModel

Affine = tuple[float, int]


def load(
    file: Path, into: tuple[str, tuple[int, ...], Affine | None], out: tuple[str, tuple[int, ...], Affine | None]
) -> LoadedModel:
    """Load a reference file under a float32 signature; a tensor with a quantization is int8 in the file."""

    def tensor(name: str, side: tuple[str, tuple[int, ...], Affine | None]) -> VariantTensor:
        affine = Quantization(scale=side[2][0], zero_point=side[2][1]) if side[2] else None
        dtype = DType.INT8 if affine else DType.FLOAT32
        return VariantTensor(name=name, tensor=side[0], dtype=dtype, shape=(-1, *side[1]), quantization=affine)

    signature = Signature(
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, *into[1])),),
        outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(-1, *out[1])),),
    )
    variant = Variant(
        id="tflite:reference",
        engine=Engine.TFLITE,
        precision=Precision.INT8 if into[2] else Precision.FLOAT32,
        minimum_engine="0.1.5.0",
        blob="0" * 64,
        inputs=(tensor("x", into),),
        outputs=(tensor("y", out),),
    )
    return engines.load(variant, signature, file.read_bytes())


@pytest.fixture(scope="module")
def windows(shared: Path) -> np.ndarray:
    """196 windows of 5 frames of a machine that runs well."""
    frames = np.fromfile(shared / "data/mlperf-tiny/ad_normal_frames.f32", "<f4").reshape(-1, 128)
    return np.stack([frames[i : i + 5].ravel() for i in range(len(frames) - 4)])


AD_FP32 = ("input_1", (640,), None), ("Identity", (640,), None)
AD_INT8 = ("input_1", (640,), (0.3910152316093445, 89)), ("Identity", (640,), (0.36449846625328064, 96))


@pytest.mark.parametrize(("file", "tensors", "rel"), [("ad01_fp32", AD_FP32, 0.005), ("ad01_int8", AD_INT8, 0.08)])
def test_normal_sound_is_reconstructed_and_noise_is_not(
    shared: Path,
    windows: np.ndarray,
    *,
    file: str,
    tensors: tuple[tuple[str, tuple[int, ...], Affine | None], ...],
    rel: float,
) -> None:
    model = load(shared / f"models/mlperf-tiny/{file}.tflite", *tensors)

    def error(x: np.ndarray) -> float:
        return float(np.square(model.run({"x": x})["y"] - x).mean())

    noise = np.random.default_rng(0).normal(windows.mean(), windows.std(), windows.shape).astype(np.float32)
    assert error(windows) == pytest.approx(9.7, rel=rel)
    assert error(noise) > 10 * error(windows)


def test_the_wake_word_model_scores_what_its_reference_scores(shared: Path) -> None:
    data = np.load(shared / "data/mlperf-tiny/sww_labelled.npz")
    into = ("serving_default_input_1:0", (30, 1, 40), (0.003701042616739869, -128))
    out = ("StatefulPartitionedCall:0", (3,), (0.00390625, -128))
    model = load(shared / "models/mlperf-tiny/str_ww_ref_model.tflite", into, out)
    scores = model.run({"x": data["specs"].astype(np.float32)})["y"]
    assert (scores.argmax(axis=1) == data["labels"]).mean() == pytest.approx(0.911, abs=0.001)


def test_the_int8_resnet_agrees_with_the_float32_one_on_the_same_signature(shared: Path) -> None:
    folder = shared / "models/mlperf-tiny"
    shape = (32, 32, 3)
    full = load(folder / "pretrainedResnet.tflite", ("input_1", shape, None), ("Identity", (10,), None))
    int8 = load(
        folder / "pretrainedResnet_quant.tflite",
        ("input_1_int8", shape, (1.0, -128)),
        ("Identity_int8", (10,), (1 / 256, -128)),
    )
    images = np.random.default_rng(0).integers(0, 256, (64, *shape)).astype(np.float32)
    left, right = full.run({"x": images})["y"], int8.run({"x": images})["y"]
    assert (left.argmax(axis=1) == right.argmax(axis=1)).mean() > 0.8
    assert np.abs(left - right).mean() < 0.05


def test_rows_of_a_batch_are_what_they_are_alone(shared: Path, windows: np.ndarray) -> None:
    model = load(shared / "models/mlperf-tiny/ad01_fp32.tflite", *AD_FP32)
    together = model.run({"x": windows[:7]})["y"]
    alone = np.concatenate([model.run({"x": row[None]})["y"] for row in windows[:7]])
    assert np.allclose(together, alone, atol=1e-3)
