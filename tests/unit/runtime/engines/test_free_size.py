"""Models whose images may have any size: loaded although size 1 is none, and a size that is too small is no fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Signature, TensorSpec, VariantTensor
from edgemm.cli import run
from edgemm.errors import BadRequestError, EngineError
from edgemm_runtime import engines, load
from edgemm_runtime.engines.interpreter import Interpreter
from edgemm_runtime.engines.litert import LiteRtSession
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators import free_size, models
from simulators.free_size import INPUT, OUTPUT, VARIANTS, predict

_FULLY_CONVOLUTIONAL = """
import sys
import keras
import tensorflow as tf
keras.utils.set_random_seed(1)
layers = keras.layers
model = keras.Sequential([
    keras.Input((None, None, 3)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Conv2D(5, 3),
    layers.GlobalAveragePooling2D(),
])
x = tf.reshape(tf.range(2 * 17 * 12 * 3, dtype=tf.float32), (2, 17, 12, 3)) / 1000
open(sys.argv[1], "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
import numpy
numpy.save(sys.argv[2], model(x).numpy())
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("free") / "edges-1.0.0.edgemm"
    free_size.make_bundle(path)
    return path


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(size=(*shape, 1)).astype(np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_size_is_answered_also_after_one_that_is_too_small(path: Path, variant: str) -> None:
    model = load(path, variant=variant)
    for shape in ((1, 5, 6), (2, 3, 9), (1, 3, 3)):
        with pytest.raises(BadRequestError):
            model.predict(image(1, 2, 2))
        assert np.abs(model.predict(image(*shape))[OUTPUT] - predict(image(*shape))).max() < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_size_that_is_too_small_is_told_with_its_shape_one_that_works_and_the_reason(
    path: Path, variant: str
) -> None:
    with pytest.raises(
        BadRequestError,
        match=r"^input 'image' of shape \[1, 2, 9, 1\]: .* for example \[1, 5, 6, 1\]: (LiteRT|ONNX|output)",
    ) as told:
        load(path, variant=variant).predict(image(1, 2, 9))
    assert "\n" not in str(told.value)


def test_on_the_command_line_it_is_a_wrong_input(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(path), "[[[1], [2]], [[3], [4]]]"]) == 2
    assert "error: " in capfd.readouterr().err


@pytest.mark.parametrize("shape", [(1, 5, 6), (1, 7, 7), (1, 2, 2)])
def test_an_engine_that_fails_at_every_size_is_a_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    model = load(path, variant="tflite:float32")

    def fail(self: object, feeds: object) -> None:
        raise EngineError("out of order")

    monkeypatch.setattr("edgemm_runtime.engines.litert.LiteRtSession.invoke", fail)
    with pytest.raises(EngineError, match="out of order"):
        model.predict(image(*shape))


def test_a_failure_that_passes_at_a_size_that_the_model_can_compute_is_a_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, invoke, failures = load(path, variant="tflite:float32"), LiteRtSession.invoke, [EngineError("no memory")]

    def fail_once(self: LiteRtSession, feeds: Arrays) -> dict[str, Array]:
        if failures:
            raise failures.pop()
        return invoke(self, feeds)

    monkeypatch.setattr(LiteRtSession, "invoke", fail_once)
    with pytest.raises(EngineError, match="no memory"):
        model.predict(image(1, 7, 7))
    assert model.predict(image(1, 7, 7))[OUTPUT].shape == (1, 5, 5, 2)


@pytest.mark.tensorflow
def test_a_fully_convolutional_network_of_keras_loads_and_answers(tmp_path: Path) -> None:
    files = [tmp_path / "net.tflite", tmp_path / "expected.npy"]
    subprocess.run(
        [sys.executable, "-c", _FULLY_CONVOLUTIONAL, *map(str, files)], check=True, capture_output=True, timeout=300
    )
    expected = np.load(files[1])
    details = Interpreter(model_path=str(files[0]))
    names = [d["name"] for d in (*details.get_input_details(), *details.get_output_details())]
    signature = Signature(
        inputs=(TensorSpec(name=INPUT, dtype=DType.FLOAT32, shape=(-1, -1, -1, 3)),),
        outputs=(TensorSpec(name=OUTPUT, dtype=DType.FLOAT32, shape=(-1, 5)),),
    )
    into, out = (
        VariantTensor(name=spec.name, tensor=tensor, dtype=spec.dtype, shape=spec.shape)
        for spec, tensor in zip((*signature.inputs, *signature.outputs), names, strict=True)
    )
    made = models.make_variant(models.Dense.random(0), "tflite:float32", blob="0" * 64)
    variant = msgspec.structs.replace(made, inputs=(into,), outputs=(out,))
    model = engines.load(variant, signature, files[0].read_bytes())
    x = (np.arange(2 * 17 * 12 * 3, dtype=np.float32) / 1000).reshape(2, 17, 12, 3)
    assert np.abs(model.run({INPUT: x})[OUTPUT] - expected).max() < 1e-4
