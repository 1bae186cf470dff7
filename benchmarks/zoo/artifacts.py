"""G: kinds of artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from benchmarks.zoo import unregistered
from benchmarks.zoo.models import Built


def build(name: str, folder: Path) -> Built:
    made = globals()[f"_{name}"](folder)
    if isinstance(made, Built):
        return made
    path = folder / f"{name}.keras"
    made.save(path)
    options = {
        "custom_registered": ("--custom-objects", "benchmarks.zoo.registered"),
        "custom_unregistered": ("--custom-objects", "benchmarks.zoo.unregistered:Doubling"),
        "subclassed": ("--custom-objects", "benchmarks.zoo.registered"),
        "lambda": ("--allow-lambda",),
    }.get(name, ())
    return Built(path, made, options=options)


def _stack(*stack: Any) -> keras.Model:
    return keras.Sequential([keras.Input((6,), name="x"), *stack, layers.Dense(3, name="y")])


def _subclassed(folder: Path) -> Built:
    from benchmarks.zoo.registered import TwoLayers

    model = TwoLayers()
    model(np.zeros((1, 6), np.float32))
    model.save(folder / "subclassed.keras")
    options = ("--custom-objects", "benchmarks.zoo.registered")
    return Built(folder / "subclassed.keras", model, inputs={"input": ((None, 6), "float32")}, options=options)


def _nested(_: Path) -> keras.Model:
    inner = keras.Sequential([layers.Dense(5, activation="relu"), layers.BatchNormalization()])
    x = keras.Input((6,), name="x")
    outer = keras.Model(x, layers.Dense(4)(inner(x)))
    return keras.Sequential([keras.Input((6,), name="x"), outer, layers.Dense(2, name="y")])


def _shared_layers(_: Path) -> keras.Model:
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    tower = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(4)])
    return keras.Model([left, right], layers.Dot(1, normalize=True, name="likeness")([tower(left), tower(right)]))


def _dict_io(_: Path) -> keras.Model:
    b, a = keras.Input((4,), name="b"), keras.Input((4,), name="a")
    x = layers.Concatenate()([a, layers.Rescaling(3.0)(b)])
    return keras.Model({"b": b, "a": a}, {"z": layers.Dense(3)(x), "c": layers.Dense(3)(x)})


def _three_outputs(_: Path) -> keras.Model:
    x = keras.Input((6,), name="x")
    return keras.Model(x, [layers.Dense(4, name=name)(x) for name in ("second", "first", "third")])


def _custom_registered(_: Path) -> keras.Model:
    from benchmarks.zoo.registered import Scaling

    return _stack(Scaling())


def _custom_unregistered(_: Path) -> keras.Model:
    return _stack(unregistered.Doubling())


def _lambda(_: Path) -> keras.Model:
    return _stack(layers.Lambda(lambda x: x * 2.0 + 1.0))


def _mixed_float16(_: Path) -> keras.Model:
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="x"), layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(), layers.Dense(3, dtype="float32", activation="softmax", name="y"),
        ]
    )  # fmt: skip
    keras.mixed_precision.set_global_policy("float32")
    return model


def _dynamic_size(_: Path) -> keras.Model:
    x = keras.Input((None, None, 3), name="image")
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(x, layers.Dense(3, name="y")(layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(y))))


def _dynamic_sequence(_: Path) -> keras.Model:
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Conv1D(8, 3, padding="same")(layers.Embedding(20, 8, embeddings_initializer="normal")(words))
    return keras.Model(words, layers.Dense(3, name="y")(layers.GlobalMaxPooling1D()(x)))


def _two_signatures(folder: Path) -> Built:
    model = _stack(layers.Dense(5, activation="tanh"))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec((None, 6), tf.float32, name="x")]
    archive.add_endpoint("logits", lambda x: {"y": model(x)}, input_signature=spec)
    archive.add_endpoint("serving_default", lambda x: {"y": ops.softmax(model(x))}, input_signature=spec)
    archive.write_out(folder / "two_signatures", verbose=False)
    return Built(
        folder / "two_signatures", model, reference=lambda given: {"y": model(given["x"])},
        options=("--signature", "logits"), inputs={"x": ((None, 6), "float32")},
    )  # fmt: skip


def _optimizer_slots(folder: Path) -> Built:
    import tf_keras

    model = tf_keras.Sequential(
        [
            tf_keras.Input((6,), name="x"),
            tf_keras.layers.Dense(5, activation="relu"),
            tf_keras.layers.Dense(3, name="y"),
        ]
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(32, 6)), rng.normal(size=(32, 3)), verbose=0)
    model.save(folder / "optimizer_slots", save_format="tf")
    return Built(folder / "optimizer_slots", model)


def _keras2_h5_lambda(folder: Path) -> Built:
    import tf_keras

    model = tf_keras.Sequential(
        [
            tf_keras.Input((6,), name="x"), tf_keras.layers.Lambda(lambda x: x * 2.0),
            tf_keras.layers.Dense(3, name="y"),
        ]
    )  # fmt: skip
    model.save(folder / "keras2_h5_lambda.h5")
    return Built(folder / "keras2_h5_lambda.h5", model, options=("--allow-lambda",))


def _keras_int8(_: Path) -> keras.Model:
    model = _stack(layers.Dense(32, activation="relu"))
    model.quantize("int8")
    return model


def _wide_and_deep(_: Path) -> keras.Model:
    wide, deep = keras.Input((8,), name="wide"), keras.Input((3,), dtype="int32", name="deep")
    x = layers.Flatten()(layers.Embedding(10, 4, embeddings_initializer="normal")(deep))
    x = layers.Dense(4)(layers.Dense(16, activation="relu")(x))
    return keras.Model([wide, deep], layers.Dense(1, activation="sigmoid", name="y")(layers.Concatenate()([wide, x])))
