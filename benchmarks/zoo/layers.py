"""F: single layers that are known to be awkward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.zoo.models import Built

_PICTURE, _STEPS = (12, 12, 4), (12, 6)
_STACKS: Mapping[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "conv1d_causal": (_STEPS, lambda: [layers.Conv1D(4, 3, padding="causal", dilation_rate=2)]),
    "conv3d": ((6, 8, 8, 2), lambda: [layers.Conv3D(4, 3, activation="relu"), layers.MaxPooling3D(2)]),
    "conv2d_transpose": (_PICTURE, lambda: [layers.Conv2DTranspose(3, 4, strides=3, padding="same")]),
    "grouped_conv": (_PICTURE, lambda: [layers.Conv2D(8, 3, groups=2), layers.Conv2D(8, 3, groups=4)]),
    "separable": (_PICTURE, lambda: [layers.SeparableConv2D(6, 3, depth_multiplier=2)]),
    "dilated": (_PICTURE, lambda: [layers.Conv2D(4, 3, dilation_rate=(2, 3), padding="same")]),
    "stride_10_same": ((40, 40, 3), lambda: [layers.Conv2D(4, 3, strides=10, padding="same")]),
    "upsampling": (_PICTURE, lambda: [layers.UpSampling2D((2, 3), interpolation="bilinear"), layers.UpSampling2D(2)]),
    "resizing": (_PICTURE, lambda: [layers.Resizing(7, 17, interpolation="bilinear")]),
    "layer_norm": (_PICTURE, lambda: [layers.LayerNormalization(axis=(1, 2, 3))]),
    "group_norm": (_PICTURE, lambda: [layers.GroupNormalization(2)]),
    "prelu": (_PICTURE, lambda: [layers.PReLU(alpha_initializer="normal", shared_axes=[1, 2])]),
    "gelu": (_STEPS, lambda: [layers.Dense(5, activation="gelu"), layers.Activation(keras.activations.gelu)]),
    "normalization": (_PICTURE, lambda: [layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 16])]),
    "rescaling": (_PICTURE, lambda: [layers.Rescaling([1.0, 2, 3, 4], offset=[-1.0, 0, 1, 2])]),
    "random_flip_rotation": (_PICTURE, lambda: [
        layers.RandomFlip(), layers.RandomRotation(0.2), layers.Conv2D(2, 3),
    ]),
    "mel_spectrogram": ((2048,), lambda: [
        layers.MelSpectrogram(fft_length=256, sequence_stride=128, num_mel_bins=20, sampling_rate=8000, min_freq=50),
    ]),
}  # fmt: skip


def build(name: str, folder: Path) -> Built:
    path, high = folder / f"{name}.keras", 4
    if name in _STACKS:
        shape, stack = _STACKS[name]
        model = keras.Sequential([keras.Input(shape, name="x"), *stack()])
    else:
        model, high = {"integer_lookup": _integers, "string_lookup": _words, "text_vectorization": _text}[name](), 30
    model.save(path)
    return Built(path, model, high=high)


def _integers() -> keras.Model:
    numbers = keras.Input((5,), dtype="int64", name="numbers")
    return keras.Model(numbers, layers.IntegerLookup(vocabulary=np.array([3, 5, 7, 11, 29]), name="index")(numbers))


def _words() -> keras.Model:
    words = keras.Input((5,), dtype="string", name="words")
    return keras.Model(words, layers.StringLookup(vocabulary=["cat", "dog"], name="index")(words))


def _text() -> keras.Model:
    text = keras.Input((1,), dtype="string", name="text")
    layer = layers.TextVectorization(vocabulary=["cat", "dog"], output_sequence_length=4, name="index")
    return keras.Model(text, layer(text))
