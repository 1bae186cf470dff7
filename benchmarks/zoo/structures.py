"""E: small models with the structures of well-known large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from benchmarks.zoo.models import Built


def build(name: str, folder: Path) -> Built:
    model = globals()[f"_{name}"]()
    path = folder / f"{name}.keras"
    model.save(path)
    return Built(path, model, options=("--custom-objects", "benchmarks.zoo.structures"))


def _image(size: int = 32) -> Any:
    return keras.Input((size, size, 3), name="image")


def _conv(x: Any, filters: int, **more: Any) -> Any:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, **more)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _segformer() -> keras.Model:
    image, levels = _image(), []
    x: Any = image
    for filters, size in ((8, 16), (16, 8)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        tokens = layers.LayerNormalization()(layers.Reshape((size * size, filters))(x))
        keys = layers.Reshape((size * size // 4, filters))(layers.Conv2D(filters, 2, strides=2)(x))
        tokens = tokens + layers.MultiHeadAttention(2, 4)(tokens, keys)
        x = layers.Reshape((size, size, filters))(tokens)
        levels.append(layers.Resizing(16, 16)(layers.Dense(8)(x)))
    mask = layers.Conv2D(4, 1)(layers.Concatenate()(levels))
    return keras.Model(image, layers.Resizing(32, 32, name="mask")(mask))


def _retinanet() -> keras.Model:
    image = _image(64)
    c3 = _conv(_conv(image, 8, strides=4), 16, strides=2)
    c4 = _conv(c3, 24, strides=2)
    p4 = layers.Conv2D(16, 1)(c4)
    p3 = layers.Conv2D(16, 1)(c3) + layers.UpSampling2D(2)(p4)
    head, box = layers.Conv2D(3 * 4, 3, padding="same"), layers.Conv2D(3 * 4, 3, padding="same")
    scores = layers.Concatenate(axis=1)([layers.Reshape((-1, 4))(head(p)) for p in (p3, p4)])
    boxes = layers.Concatenate(axis=1)([layers.Reshape((-1, 4))(box(p)) for p in (p3, p4)])
    return keras.Model(image, {"scores": ops.sigmoid(scores), "boxes": boxes})


def _deeplab() -> keras.Model:
    image = _image()
    x = _conv(_conv(image, 8, strides=2), 16, strides=2)
    pooled = layers.UpSampling2D(8, interpolation="bilinear")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Concatenate()([_conv(x, 8), _conv(x, 8, dilation_rate=2), _conv(x, 8, dilation_rate=3), pooled])
    x = layers.UpSampling2D(4, interpolation="bilinear")(layers.Conv2D(3, 1)(x))
    return keras.Model(image, layers.Softmax(name="mask")(x))


@keras.saving.register_keras_serializable("zoo")
class FourierMixing(layers.Layer):
    def call(self, x: Any) -> Any:
        return ops.fft2((x, ops.zeros_like(x)))[0]


def _fnet() -> keras.Model:
    words = keras.Input((16,), dtype="int32", name="words")
    x = layers.Embedding(30, 16, embeddings_initializer="normal")(words)
    x = layers.LayerNormalization()(x + FourierMixing()(x))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    return keras.Model(words, layers.Dense(3, name="topic")(layers.GlobalAveragePooling1D()(x)))


@keras.saving.register_keras_serializable("zoo")
class Sampling(layers.Layer):
    def call(self, parts: Any, *, training: bool = False) -> Any:
        mean, log_variance = parts
        if not training:
            return mean
        return mean + keras.random.normal(ops.shape(mean)) * ops.exp(0.5 * log_variance)


def _vae() -> keras.Model:
    image = keras.Input((16, 16, 1), name="image")
    x = layers.Flatten()(_conv(image, 8, strides=2))
    mean, log_variance = layers.Dense(4, name="mean")(x), layers.Dense(4, name="log_variance")(x)
    x = layers.Reshape((8, 8, 4))(layers.Dense(8 * 8 * 4, activation="relu")(Sampling()([mean, log_variance])))
    x = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid", name="rebuilt")(x)
    return keras.Model(image, {"rebuilt": x, "mean": mean, "log_variance": log_variance})


def _unet() -> keras.Model:
    image = _image()
    a = _conv(image, 8)
    b = _conv(layers.MaxPooling2D()(a), 16)
    c = _conv(layers.MaxPooling2D()(b), 24)
    x = _conv(layers.Concatenate()([layers.Conv2DTranspose(16, 2, strides=2)(c), b]), 16)
    x = _conv(layers.Concatenate()([layers.Conv2DTranspose(8, 2, strides=2)(x), a]), 8)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def _yolo_head() -> keras.Model:
    image = _image()
    x = layers.Conv2D(2 * 7, 1)(_conv(_conv(image, 8, strides=4), 16, strides=2))
    x = layers.Reshape((4, 4, 2, 7))(x)
    grid = ops.stack(ops.meshgrid(ops.arange(4.0), ops.arange(4.0)), axis=-1)[None, :, :, None, :]
    centre = (ops.sigmoid(x[..., :2]) + grid) / 4.0
    size = ops.exp(ops.clip(x[..., 2:4], -4.0, 4.0)) * ops.convert_to_tensor([[0.1, 0.2], [0.3, 0.1]])
    boxes = layers.Reshape((32, 4))(ops.concatenate([centre - size / 2, centre + size / 2], axis=-1))
    best = ops.argmax(layers.Reshape((32, 3))(x[..., 4:]), axis=-1)
    return keras.Model(image, {"boxes": boxes, "best": best})


def _dcgan() -> keras.Model:
    noise = keras.Input((8,), name="noise")
    x = layers.Reshape((4, 4, 8))(layers.Dense(4 * 4 * 8, use_bias=False)(noise))
    for filters in (8, 4):
        x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    return keras.Model(noise, layers.Conv2D(1, 3, padding="same", activation="tanh", name="image")(x))
