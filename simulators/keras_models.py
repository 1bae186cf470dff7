"""Small Keras models with fixed seeds, saved the way users save them: `python -m simulators.keras_models FOLDER`.

A program of its own, so that the tests' process stays without TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    from simulators.odd_layers import CountingLayer, FactorLayer, ImpureLayer, NoisyLayer, PlainLayer, QuietNoiseLayer

FACTOR = 2.5


def build(folder: Path) -> None:
    for name, make in _makers().items():
        keras.utils.set_random_seed(7)  # for each anew: another model before it changes nothing
        make().save(folder / name)
    cnn = keras.models.load_model(folder / "cnn.keras")
    cnn.export(folder / "cnn_saved", verbose=False)
    cnn.save_weights(folder / "only.weights.h5")
    keras.models.load_model(folder / "two-dict.keras").export(folder / "two_saved", verbose=False)
    keras.utils.set_random_seed(7)
    _counting_module(folder / "counting_saved")
    _nan(folder / "nan.keras")
    _data(folder, cnn)


def _makers() -> dict[str, Callable[[], keras.Model]]:
    """Return how each file's model is made."""
    return {
        "cnn.keras": _cnn,
        "cnn.h5": _cnn,
        "two-dict.keras": lambda: _two_by_two(names=True),
        "two-list.keras": lambda: _two_by_two(names=False),
        "embedding.keras": _embedding,
        "lstm.keras": _recurrent,
        "heavy.keras": _heavy,
        "choosing.keras": _choosing,
        "shared-output.keras": _shared_output,
        "wide-lstm.keras": lambda: _wide_recurrent(layers.LSTM(48)),
        "wide-gru.keras": lambda: _wide_recurrent(layers.Bidirectional(layers.GRU(48))),
        "lambda.keras": lambda: _stack(layers.Lambda(lambda x: x * 2)),
        "lambda.h5": lambda: _stack(layers.Lambda(lambda x: x * 2)),
        "named-lambda.keras": lambda: _stack(layers.Lambda(lambda x: tf.nn.relu(x) * FACTOR)),
        "custom.keras": lambda: _stack(PlainLayer()),
        "impure.keras": lambda: _stack(ImpureLayer()),
        "counting.keras": lambda: _stack(CountingLayer(name="counter")),
        "quiet-noise.keras": lambda: _stack(QuietNoiseLayer(name="whisper")),
        "noisy.keras": lambda: _stack(NoisyLayer(name="noise"), layers.Dropout(0.5), layers.GaussianNoise(0.5)),
        "dropout.keras": lambda: _stack(layers.Dropout(0.5), layers.GaussianNoise(0.5)),
        "factor.keras": lambda: _stack(FactorLayer(name="factor")),
        "padded-bicubic.keras": _padded_bicubic,
        "odd-names.keras": _odd_names,
        "outlier.keras": _outlier,
        "parting.keras": _parting,
        "saturated.keras": _saturated,
        "rewritten.keras": _rewritten,
        "stateful.keras": _stateful,
        "detector.keras": _detector,
        "loads.keras": _loads,
    }


def _cnn() -> keras.Model:
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(6, 3, activation="relu")(image)
    normal = layers.BatchNormalization()
    x = layers.Flatten()(normal(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x))
    rng = np.random.default_rng(1)
    normal.set_weights([rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2, 6)])
    return model


def _counting_module(folder: Path) -> None:
    """A SavedModel that adds up what it is given."""
    module = tf.Module()
    module.total = tf.Variable(tf.zeros(3), name="total")
    spec = tf.TensorSpec((1, 3), tf.float32, name="x")
    module.serve = tf.function(lambda x: {"y": module.total.assign_add(x[0])[tf.newaxis]}, input_signature=[spec])
    tf.saved_model.save(module, folder, signatures=module.serve)


def _two_by_two(*, names: bool) -> keras.Model:
    """Two inputs and two outputs of one shape: whoever matches by position is found out."""
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    hidden = layers.Dense(8, activation="tanh")(layers.Concatenate()([left, layers.Rescaling(3.0)(right)]))
    zeta, alpha = layers.Dense(3, name="zeta")(hidden), layers.Dense(3, name="alpha", activation="sigmoid")(hidden)
    if names:
        return keras.Model({"right": right, "left": left}, {"zeta": zeta, "alpha": alpha})
    return keras.Model([right, left], [zeta, alpha])


def _embedding() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32", name="words"),
            layers.Embedding(20, 8, embeddings_initializer="normal"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax", name="topic"),
        ]
    )


def _recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((5, 3), name="steps"), layers.LSTM(4), layers.Dense(2, name="next")])


def _heavy() -> keras.Model:
    """Weights of more than 1 MiB, of a convolution and of dense layers."""
    x = keras.Input((3, 3, 128), name="x")
    flat = layers.Flatten()(layers.Conv2D(256, 3, activation="relu")(x))
    return keras.Model(x, layers.Dense(2, name="y")(layers.Dense(1200)(layers.Dense(1100)(flat))))


def _choosing() -> keras.Model:
    """The largest of values that are zero at times."""
    steps = keras.Input((6, 16), name="steps")
    scores = layers.Dense(5, activation="relu", name="scores")(steps)
    return keras.Model(steps, {"next": layers.Dense(2)(scores), "best": keras.ops.argmax(scores, axis=-1)})


def _shared_output() -> keras.Model:
    """An output that goes on into an operation that stays float, and into one that does not."""
    steps = keras.Input((6, 16), name="steps")
    scores = layers.Dense(5, activation="sigmoid", name="scores")(steps)
    return keras.Model(
        steps, {"scores": scores, "powers": layers.Activation("exponential")(scores), "next": layers.Dense(2)(scores)}
    )


def _wide_recurrent(layer: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((6, 16), name="steps"), layer, layers.Dense(3, name="next")])


def _rewritten() -> keras.Model:
    """Operations that one engine or the other lacks: a pooled volume, grouped convolutions, the exact GELU."""
    return keras.Sequential(
        [
            keras.Input((4, 6, 6, 4), name="volume"), layers.MaxPooling3D(2), layers.Reshape((6, 3, 4)),
            layers.Conv2D(8, 2, groups=2, activation="gelu"), layers.Flatten(), layers.Dense(2, name="y"),
        ]
    )  # fmt: skip


def _stateful() -> keras.Model:
    steps = keras.Input(batch_shape=(1, 5, 3), name="steps")
    return keras.Model(steps, layers.Dense(2, name="next")(layers.LSTM(4, stateful=True, name="memory")(steps)))


def _stack(*stack: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((3,), name="x"), *stack, layers.Dense(2, name="y")])


def _padded_bicubic() -> keras.Model:
    """A resizing that ONNX Runtime does not compute."""
    shrink = layers.Resizing(4, 6, "bicubic", pad_to_aspect_ratio=True, name="shrink")
    return keras.Sequential([keras.Input((8, 8, 1), name="x"), shrink])


def _odd_names() -> keras.Model:
    """Names that graphs do not keep: an output called like an input, blanks, slashes, letters that differ in case."""
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="X")
    both = layers.Concatenate()([x, layers.Rescaling(-1.0)(y)])
    return keras.Model([x, y], {"x": layers.Dense(2)(both), "logits/main 1": layers.Dense(2)(both)})


def _outlier() -> keras.Model:
    """A layer with one huge weight for an input that is always 0 in the data: in 8 bits its other weights vanish."""
    x = keras.Input((16,), name="x")
    outlier = layers.Dense(24, activation="tanh", name="outlier")
    wide = layers.Dense(96, activation="relu", name="wide")(outlier(x))
    model = keras.Model(x, layers.Dense(4, activation="softmax", name="class")(wide))
    kernel, bias = outlier.get_weights()
    kernel[15] = 1e3
    outlier.set_weights([4 * kernel, bias])
    return model


def _detector() -> keras.Model:
    """Boxes in pixels and scores in one output."""
    x = keras.Input((8,), name="x")
    seen = layers.Dense(64, activation="relu")(layers.Dense(64, activation="relu")(x))
    boxes = layers.Rescaling(300.0, offset=150.0)(layers.Dense(4)(seen))
    scores = layers.Dense(3, activation="sigmoid", name="scores")(seen)
    return keras.Model(x, layers.Concatenate(name="found")([boxes, scores]))


def _loads() -> keras.Model:
    """A load and watts, of a model so small that floats take no more room than integers."""
    x = keras.Input((8,), name="x")
    both = layers.Dense(2, name="both")(layers.Dense(4, activation="relu")(x))
    return keras.Model(x, layers.Rescaling([0.3, 2000.0], name="power")(both))


def _parting() -> keras.Model:
    """Small and huge numbers in one tensor: its 8 bits keep nothing of the small ones, on which the answer depends."""
    rng = np.random.default_rng(3)
    x = keras.Input((8,), name="x")
    both = layers.Concatenate()([layers.Dense(8, name="small")(x), layers.Dense(8, name="huge")(x)])
    mixed = layers.Dense(8, activation="tanh", name="mixed")(both)
    model = keras.Model(x, layers.Dense(4, activation="softmax", name="class")(mixed))
    kernels = {
        "small": rng.normal(size=(8, 8)),
        "huge": 2e3 * rng.normal(size=(8, 8)),
        "mixed": np.concatenate([rng.normal(size=(8, 8)), 1e-7 * rng.normal(size=(8, 8))]),
        "class": 4 * rng.normal(size=(8, 4)),
    }
    for name, kernel in kernels.items():
        model.get_layer(name).set_weights([kernel, np.zeros(kernel.shape[1])])
    return model


def _saturated() -> keras.Model:
    """Inputs of the usual size push it to the same end of its range, whatever they are."""
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3, activation="softmax", name="class")])
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel, np.array([1e4, 0, 0]) + bias])
    return model


def _nan(path: Path) -> None:
    model = _stack(layers.Dense(3, name="broken"))
    kernel, bias = model.get_layer("broken").get_weights()
    kernel[0, 0] = np.nan
    model.get_layer("broken").set_weights([kernel, bias])
    model.save(path)


def _data(folder: Path, cnn: keras.Model) -> None:
    rng = np.random.default_rng(2)
    images = rng.normal(size=(48, 8, 8, 1)).astype(np.float32)
    labels = cnn.predict(images, verbose=0).argmax(axis=1)
    labels[:12] = (labels[:12] + 1) % 10
    np.savez(folder / "images.npz", image=images)
    np.savez(folder / "labelled.npz", image=images, labels=labels)
    np.save(folder / "images.npy", images)
    lines = [",".join(map(repr, image.ravel().tolist())) for image in images]
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    np.savez(folder / "pixels.npz", pixels=np.abs(images) * 60)
    left, right = (rng.normal(size=(40, 4)).astype(np.float32) for _ in range(2))
    np.savez(folder / "pairs.npz", left=left, right=right)
    x = np.append(rng.normal(size=(240, 15)), np.zeros((240, 1)), axis=1).astype(np.float32)
    exact = keras.models.load_model(folder / "outlier.keras").predict(x, verbose=0)
    np.savez(folder / "rows.npz", x=x[:80])
    np.savez(folder / "rows-labelled.npz", x=x[80:], labels=exact[80:].argmax(axis=1))
    np.savez(folder / "rows-exact.npz", x=x[80:], labels=exact[80:])
    np.save(folder / "words.npy", rng.integers(0, 20, size=(40, 6)))
    numbers = rng.normal(size=(120, 8)).astype(np.float32)
    np.savez(folder / "numbers.npz", x=numbers)
    found = keras.models.load_model(folder / "detector.keras").predict(numbers[60:], verbose=0)
    np.savez(folder / "numbers-exact.npz", x=numbers[60:], labels=found)
    np.save(folder / "steps.npy", rng.normal(size=(60, 6, 16)).astype(np.float32))
    np.save(folder / "unknown-words.npy", rng.integers(15, 90, size=(40, 6)))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
