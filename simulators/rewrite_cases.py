"""Small functions that engines cannot run as they are, computed as written and as rewritten: one JSON object on stdout.

`python -m simulators.rewrite_cases`: a program of its own, so that the tests' process stays without TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    import tensorflow as tf

    from edgemm.bundle.engine_facts import Engine
    from edgemm_converter import rewrites

_RNG = np.random.default_rng(3)


def _normal(*shape: int) -> Any:
    return _RNG.normal(size=shape).astype(np.float32)


def _complex(x: Any) -> Any:
    return tf.complex(x, tf.reverse(x, [-1]))


def _parts(z: Any) -> Any:
    return tf.stack([tf.math.real(z), tf.math.imag(z)])


_INTEGER_PRODUCT = {Engine.TFLITE: "BatchMatMulV3", Engine.ONNX: ""}
_ZEROS = np.array([[-0.0, 0.0, -1.0], [0.0, -0.0, -1.0], [1.0, np.nextafter(np.float32(0), np.float32(1)), -0.0]])
CASES: Mapping[str, tuple[Callable[[Any], Any], Any]] = {
    "signbit": (lambda x: tf.cast(keras.ops.signbit(x), tf.float32), _ZEROS.astype(np.float32)),
    "argmax": (lambda x: keras.ops.argmax(x, axis=-1), np.concatenate([_ZEROS, _normal(5, 3)]).astype(np.float32)),
    "argmin": (lambda x: keras.ops.argmin(x, axis=-1), np.concatenate([_ZEROS, _normal(5, 3)]).astype(np.float32)),
    "fft": (lambda x: _parts(tf.signal.fft(_complex(x))), _normal(3, 12)),
    "ifft": (lambda x: _parts(tf.signal.ifft(_complex(x))), _normal(3, 15)),
    "fft2d": (lambda x: _parts(tf.signal.fft2d(_complex(x))), _normal(2, 6, 9)),
    "fft3d": (lambda x: _parts(tf.signal.fft3d(_complex(x))), _normal(4, 6, 5)),
    "rfft": (lambda x: _parts(tf.signal.rfft(x)), _normal(3, 16)),
    "rfft of odd length": (lambda x: _parts(tf.signal.rfft(x)), _normal(3, 9)),
    "rfft of less": (lambda x: _parts(tf.signal.rfft(x, [10])), _normal(3, 16)),
    "rfft of more": (lambda x: _parts(tf.signal.rfft(x, [32])), _normal(3, 16)),
    "rfft2d": (lambda x: _parts(tf.signal.rfft2d(x)), _normal(2, 6, 8)),
    "rfft2d of more": (lambda x: _parts(tf.signal.rfft2d(x, [7, 12])), _normal(2, 6, 8)),
    "irfft": (lambda x: tf.signal.irfft(tf.signal.rfft(x)), _normal(3, 16)),
    "irfft of odd length": (lambda x: tf.signal.irfft(_complex(x), [13]), _normal(3, 7)),
    "irfft2d": (lambda x: tf.signal.irfft2d(tf.signal.rfft2d(x)), _normal(2, 6, 8)),
    "product": (lambda x: _parts(_complex(x) * _complex(x + 1.0)), _normal(3, 4)),
    "square of a conjugate": (lambda x: _parts(tf.square(tf.math.conj(_complex(x)))), _normal(3, 4)),
    "magnitude": (lambda x: tf.abs(_complex(x)), _normal(3, 4)),
    "angle": (lambda x: tf.math.angle(_complex(x)), _normal(3, 4)),
    "constant": (lambda x: _parts(_complex(x) - tf.constant(1.0 + 2.0j, tf.complex64)), _normal(3, 4)),
    "cast": (lambda x: _parts(tf.cast(x, tf.complex64) + _complex(x)), _normal(3, 4)),
    "slices and joins": (
        lambda x: _parts(tf.transpose(tf.concat([_complex(x)[:, 1:3], -_complex(x)], axis=1))[..., tf.newaxis]),
        _normal(3, 4),
    ),
    "constant seed": (lambda x: x + keras.random.normal((4,), seed=5), _normal(3, 4)),
    "product of bytes": (
        lambda x: keras.ops.matmul(tf.cast(x, tf.int8), tf.cast(tf.transpose(x), tf.int8)),
        _RNG.integers(-127, 127, (5, 1000)).astype(np.float32),
    ),
    "exponential of complex numbers": (lambda x: _parts(tf.exp(_complex(x))), _normal(3, 4)),
    "quotient of complex numbers": (lambda x: _parts(_complex(x) / _complex(x * x + 1.0)), _normal(3, 4)),
    "cosine transform": (tf.signal.dct, _normal(3, 16)),
    "indices that are none": (
        lambda x: tf.one_hot(tf.cast(x, tf.int32), 3), np.array([[-1.0, 0.0, 2.0, 3.0, -3.0]], np.float32)
    ),
    "hue": (lambda x: tf.image.adjust_hue(x, 0.3), _normal(2, 3, 4, 3)),
    "saturation": (lambda x: tf.image.adjust_saturation(x, 1.7), _normal(2, 3, 4, 3)),
    "means of areas": (lambda x: tf.compat.v1.image.resize_area(x, [3, 11]), _normal(2, 7, 8, 3)),
    "means of aligned areas": (
        lambda x: tf.compat.v1.image.resize_area(x, [3, 5], align_corners=True), _normal(2, 7, 8, 3)
    ),
    "silu": (tf.nn.silu, _normal(3, 4)),
}  # fmt: skip


def measured(function: Callable[[Any], Any], x: Any) -> dict[str, Any]:
    """Return the largest error of any engine's rewritten form, and what complex or bitwise operations it still has."""
    source = tf.function(function, input_signature=[tf.TensorSpec(x.shape, x.dtype)], autograph=False)
    frozen = rewrites.freeze(source.get_concrete_function())
    expected, error, left = np.asarray(source(x)), 0.0, set()
    for engine in (Engine.ONNX, Engine.TFLITE):
        run = rewrites.rewritten(frozen, engine=engine, layer=str)
        made = tf.function(lambda t, run=run: run([t])[0], input_signature=source.input_signature, autograph=False)
        error = max(error, float(np.abs(np.asarray(made(x), np.float64) - expected).max()))
        left |= {o.type for o in made.get_concrete_function().graph.get_operations() if _foreign(o, engine)}
    return {"error": error, "scale": float(np.ptp(expected.astype(np.float64))), "left": sorted(left)}


def _foreign(operation: Any, engine: Engine) -> bool:
    if engine is Engine.TFLITE and operation.type in {"RFFT", "RFFT2D", "Real", "Imag", "ComplexAbs"}:
        return False  # builtins
    named = operation.type in {"BitwiseAnd", _INTEGER_PRODUCT[engine]} or operation.type.startswith("StatelessRandom")
    return named or any(t.dtype.is_complex for t in operation.outputs)


if __name__ == "__main__":
    json.dump({name: measured(*case) for name, case in CASES.items()}, sys.stdout)
