"""Layers of which one channel is almost nothing, quantized: `python -m simulators.dead_channels` prints as JSON how far
each is off.

Its weights are zeros or × 1e-7, as those of a pruned filter or of a tiny BatchNorm gamma, and its bias is 3. Imports
TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    from edgemm.bundle.manifest import Precision
    from edgemm.errors import ConversionError
    from edgemm_converter.export import quantization, tflite
    from edgemm_converter.sources import keras3

CHANNEL, BIAS = 1, 3.0
SAMPLES = 30
INTEGERS = (Precision.INT8, Precision.INT16X8)
_random = np.random.default_rng(7)


def of_layer(layer: Any, shape: tuple[int, ...], *, axis: int = -1, scale: float = 0.0) -> Any:
    """Return a model of one layer, the channel of whose first weights along `axis` is multiplied by `scale`."""
    given = keras.Input(shape, name="x")
    model = keras.Model(given, layer(given))
    weights = [(_random.normal(size=w.shape) * 0.2).astype(np.float32) for w in layer.get_weights()]
    np.moveaxis(weights[0], axis, 0)[CHANNEL] *= scale
    weights[-1][CHANNEL] = BIAS
    layer.set_weights(weights)
    return model


def normalized() -> Any:
    """Return convolutions into which BatchNorm layers with tiny gammas are folded."""
    given = keras.Input((8, 8, 3), name="x")
    first, second = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()
    value = keras.layers.ReLU()(first(keras.layers.Conv2D(8, 3, use_bias=False)(given)))
    value = second(keras.layers.DepthwiseConv2D(3, use_bias=False)(value))
    model = keras.Model(given, value)
    gammas, betas = np.ones(8, np.float32), _random.normal(size=8).astype(np.float32)
    gammas[CHANNEL], betas[CHANNEL] = 1e-7, BIAS
    for layer in (first, second):
        layer.set_weights([gammas, betas, np.zeros(8), np.ones(8)])
    return model


def shared() -> Any:
    """Return two convolutions that share their weights and differ in their biases."""
    kernel = (_random.normal(size=(1, 1, 2, 4)) * np.array([1, 1e-7, 0, 1e-9])).astype(np.float32)

    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            first, second = tf.nn.conv2d(x, kernel, 1, "SAME"), tf.nn.conv2d(3 * x, kernel, 1, "SAME")
            return tf.nn.bias_add(first, [1.0, 3.0, 3.0, 0.0]) + tf.nn.bias_add(second, [1.0, 9.0, 0.0, 7.0])

    given = keras.Input((6, 6, 2), name="x")
    return keras.Model(given, Twice()(given))


def dense(scale: float) -> Any:
    """Return two dense layers, the weights of the first of which are all of one scale."""
    given = keras.Input((6,), name="x")
    model = keras.Model(given, keras.layers.Dense(3)(keras.layers.Dense(4)(given)))
    kernel, *others = model.get_weights()
    model.set_weights([kernel * scale, *others])
    return model


CASES: Mapping[str, tuple[Callable[[], Any], tuple[Precision, ...], float]] = {
    "conv2d": (lambda: of_layer(keras.layers.Conv2D(64, 3), (8, 8, 3)), INTEGERS, 1.0),
    "conv2d_small": (lambda: of_layer(keras.layers.Conv2D(8, 3), (8, 8, 3), scale=1e-7), INTEGERS, 1.0),
    "depthwise": (lambda: of_layer(keras.layers.DepthwiseConv2D(3), (8, 8, 3), axis=2), INTEGERS, 1.0),
    "dense": (lambda: of_layer(keras.layers.Dense(8), (6,)), INTEGERS, 1.0),
    "dense_of_sequences": (lambda: of_layer(keras.layers.Dense(8), (5, 6)), INTEGERS, 1.0),
    "transposed": (lambda: of_layer(keras.layers.Conv2DTranspose(8, 3), (8, 8, 3), axis=2), INTEGERS, 1.0),
    "conv1d": (lambda: of_layer(keras.layers.Conv1D(8, 3), (8, 3)), INTEGERS, 1.0),
    "separable": (lambda: of_layer(keras.layers.SeparableConv2D(8, 3), (8, 8, 3), axis=2), INTEGERS, 1.0),
    "grouped": (lambda: of_layer(keras.layers.Conv2D(8, 3, groups=2), (8, 8, 4)), INTEGERS, 1.0),
    "normalized": (normalized, INTEGERS, 1.0),
    "shared": (shared, INTEGERS, 1.0),
    "beyond_half": (lambda: dense(1e6), (Precision.FLOAT16,), 1.0),
    "below_half": (lambda: dense(1e-9), (Precision.FLOAT16,), 1e9),
    "small_inputs": (lambda: of_layer(keras.layers.Dense(8), (6,), scale=1.0), (Precision.INT8,), 1e-8),
}
"""Name → the model, the precisions, and the scale of its inputs."""


def answers(file: bytes, inputs: Any) -> Any:
    """Return what a file answers, in real numbers, of shape [samples, …]."""
    runner = Interpreter(model_content=file).get_signature_runner()
    (given,), (output,) = runner.get_input_details().values(), runner.get_output_details().values()

    def answer(sample: Any) -> Any:
        scale, zero_point = given["quantization"]
        if scale:
            limits = np.iinfo(given["dtype"])
            sample = np.clip(np.rint(sample / scale) + zero_point, limits.min, limits.max)
        (found,) = runner(x=sample[np.newaxis].astype(given["dtype"])).values()
        scale, zero_point = output["quantization"]
        return (found[0].astype(np.float64) - zero_point) * scale if scale else found[0]

    return np.stack([answer(sample) for sample in inputs])


def found(make: Callable[[], Any], precisions: tuple[Precision, ...], scale: float) -> dict[str, float | str]:
    """Quantize one model: the mean error of its worst channel relative to the largest answer, or why there is none."""
    model = make()
    floats = tflite.convert_float(keras3.serve(model, path=Path("model.keras"), shapes={}))
    inputs = (_random.normal(size=(SAMPLES, *model.inputs[0].shape[1:])) * scale).astype(np.float32)
    expected = answers(floats, inputs)
    errors: dict[str, float | str] = {}
    for precision in precisions:
        try:
            file = quantization.quantize(floats, precision, calibration={"x": inputs[:, np.newaxis]})
        except ConversionError as err:
            errors[precision] = str(err)
            continue
        error = np.abs(answers(file, inputs) - expected).mean(axis=tuple(range(expected.ndim - 1))).max()
        errors[precision] = float(error / np.abs(expected).max())
    return errors


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: found(*case) for name, case in CASES.items()}))
