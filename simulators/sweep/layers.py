"""Every layer of Keras, with the options that change what it computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from simulators.sweep.case import Case, Table
from simulators.sweep.given import SETS, floats

_IMAGE, _SEQUENCE, _VOLUME, _ROWS = "image", "sequence", "volume", "rows"
_NOISE = np.random.default_rng(4).normal(size=(6, 64, 1)).astype(np.float32)
_STEPS = floats(4, 8, 8, 3)[:6]


def _layer(layer: Any, given: Any = _ROWS, **more: Any) -> Case:
    return Case(layer, given, whole=True, **{"limit": 2e-5, **more})


class _Of(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Calls a layer that Keras cannot call on a symbolic input."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


class _OfItself(_Of):
    """Gives a layer one input twice, as query and as value."""

    def call(self, x: Any) -> Any:
        return self.inner(x, x)


def _adapted(layer: Any, data: Any) -> Any:
    layer.adapt(data)
    return layer


def _pooled(rank: int, given: str) -> Table:
    found: dict[str, Case] = {}
    for name in (f"MaxPooling{rank}D", f"AveragePooling{rank}D"):
        kind = getattr(layers, name)
        found |= {name: _layer(kind(2), given), f"{name}: same": _layer(kind(3, 2, "same"), given)}
    for name in ("GlobalAveragePooling", "GlobalMaxPooling"):
        found[f"{name}{rank}D"] = _layer(getattr(layers, f"{name}{rank}D")(), given)
    for name in ("AdaptiveAveragePooling", "AdaptiveMaxPooling"):
        found[f"{name}{rank}D"] = _layer(getattr(layers, f"{name}{rank}D")(3), given)
    for name in ("ZeroPadding", "Cropping", "UpSampling"):
        found[f"{name}{rank}D"] = _layer(getattr(layers, f"{name}{rank}D")(2), given)
    return found


def _convolved(rank: int, given: str) -> Table:
    kind, transposed = getattr(layers, f"Conv{rank}D"), getattr(layers, f"Conv{rank}DTranspose")
    return {
        f"Conv{rank}D": _layer(kind(4, 3, 2, "same"), given),
        f"Conv{rank}D: dilated": _layer(kind(4, 2, padding="same", dilation_rate=2), given),
        f"Conv{rank}D: valid": _layer(kind(4, 2, activation="relu"), given),
        f"Conv{rank}DTranspose": _layer(transposed(4, 3, 2, "same"), given),
        f"Conv{rank}DTranspose: valid": _layer(transposed(4, 3, 2, "valid"), given),
        f"Conv{rank}DTranspose: output padding": _layer(transposed(4, 5, 2, "valid", output_padding=1), given),
        f"Conv{rank}DTranspose: same output padding": _layer(transposed(4, 3, 2, "same", output_padding=0), given),
        f"Conv{rank}DTranspose: gaps": _layer(transposed(4, 2, 3, "valid"), given),
        f"Conv{rank}DTranspose: dilated": _layer(transposed(4, 3, padding="same", dilation_rate=2), given),
        f"Conv{rank}DTranspose: dilated valid": _layer(transposed(4, 3, padding="valid", dilation_rate=2), given),
    }


def _recurrent() -> Table:
    found: dict[str, Case] = {}
    for kind in (layers.SimpleRNN, layers.GRU, layers.LSTM):
        name = kind.__name__
        found |= {
            name: _layer(kind(3), _SEQUENCE, limit=1e-4),
            f"{name}: sequences": _layer(kind(3, return_sequences=True, go_backwards=True), _SEQUENCE, limit=1e-4),
            f"{name}: softplus": _layer(kind(3, activation="softplus"), "random rows", limit=1e-4),
            f"{name}: celu": _layer(kind(3, activation="celu"), "random rows", limit=1e-4),
            f"{name}Cell": _layer(layers.RNN(getattr(layers, f"{name}Cell")(3)), _SEQUENCE, limit=1e-4),
        }
    return found


CONVOLUTIONS: Table = {**_convolved(1, _SEQUENCE), **_convolved(2, _IMAGE), **_convolved(3, _VOLUME)}
POOLS: Table = {**_pooled(1, _SEQUENCE), **_pooled(2, _IMAGE), **_pooled(3, _VOLUME)}
RECURRENT: Table = {
    **_recurrent(),
    "RNN": _layer(layers.RNN(layers.SimpleRNNCell(3)), _SEQUENCE, limit=1e-4),
    "StackedRNNCells": _layer(
        layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)])), _SEQUENCE, limit=1e-4
    ),
    "Bidirectional": _layer(layers.Bidirectional(layers.LSTM(3)), _SEQUENCE, limit=1e-4),
    "TimeDistributed": _layer(layers.TimeDistributed(layers.Dense(3)), _SEQUENCE),
    "ConvLSTM1D": _layer(layers.ConvLSTM1D(2, 3), (floats(3, 6, 2)[:8],), limit=1e-4),
    "ConvLSTM2D": _layer(layers.ConvLSTM2D(2, 3), (_STEPS,), limit=1e-4),
    "ConvLSTM3D": _layer(layers.ConvLSTM3D(2, 2), (floats(2, 4, 4, 4, 1)[:4],), limit=1e-4),
    "Masking": _layer(keras.Sequential([layers.Masking(), layers.GRU(3)]), _SEQUENCE, limit=1e-4),
}

_LEFT_ALONE = (
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform",
    "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert",
    "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomZoom", "AugMix", "RandAugment", "MixUp", "CutMix",
)  # fmt: skip
_OPTIONS: dict[str, Any] = {
    "RandomContrast": {"factor": 0.2}, "RandomBrightness": {"factor": 0.2}, "RandomRotation": {"factor": 0.2},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1}, "RandomZoom": {"height_factor": 0.1},
    "RandomColorDegeneration": {"factor": 0.2}, "RandomHue": {"factor": 0.2}, "RandomSaturation": {"factor": 0.2},
    "RandomSharpness": {"factor": 0.2}, "RandomPosterization": {"factor": 4},
}  # fmt: skip
PREPARATIONS: Table = {
    **{name: _layer(getattr(layers, name)(**_OPTIONS.get(name, {})), "colours") for name in _LEFT_ALONE},
    "RandomCrop": _layer(layers.RandomCrop(4, 5), "colours"),
    "CenterCrop": _layer(layers.CenterCrop(4, 5), _IMAGE),
    "Resizing": _layer(layers.Resizing(5, 11), _IMAGE),
    **{
        f"Resizing: {kind}": _layer(layers.Resizing(5, 11, kind), _IMAGE)
        for kind in ("nearest", "bicubic", "lanczos3", "lanczos5", "area")
    },
    "Resizing: antialias": _layer(layers.Resizing(5, 5, antialias=True), _IMAGE),
    "Resizing: bicubic antialias": _layer(layers.Resizing(5, 5, "bicubic", antialias=True), _IMAGE),
    "Resizing: crop": _layer(layers.Resizing(4, 6, crop_to_aspect_ratio=True), _IMAGE),
    "Resizing: pad bicubic": _layer(layers.Resizing(4, 6, "bicubic", pad_to_aspect_ratio=True), _IMAGE),
    "Resizing: pad": _layer(layers.Resizing(4, 6, pad_to_aspect_ratio=True), _IMAGE),
    "Rescaling": _layer(layers.Rescaling(1 / 127.5, -1), _IMAGE),
    "Normalization": _layer(_adapted(layers.Normalization(), SETS["random rows"][0]), _ROWS),
    "Discretization": _layer(layers.Discretization([-1.0, 0.0, 0.5, 10.0]), _ROWS, jumps=True),
    "Discretization: one-hot": _layer(
        layers.Discretization([-1.0, 0.0, 0.5, 10.0], output_mode="one_hot"), (floats(1),), jumps=True
    ),
    "Discretization: multi-hot": _layer(
        layers.Discretization([-1.0, 0.0, 0.5, 10.0], output_mode="multi_hot"), "vector", jumps=True
    ),
    "Discretization: count": _layer(
        layers.Discretization([-1.0, 0.0, 0.5, 10.0], output_mode="count"), "vector", jumps=True
    ),
    "CategoryEncoding": _layer(layers.CategoryEncoding(6), "indices"),
    "CategoryEncoding: one-hot": _layer(layers.CategoryEncoding(6, "one_hot"), "index"),
    "CategoryEncoding: count": _layer(layers.CategoryEncoding(6, "count"), "indices"),
    "IntegerLookup": _layer(layers.IntegerLookup(vocabulary=[3, 5, 7, 60]), "indices"),
    "MelSpectrogram": _layer(
        layers.MelSpectrogram(32, 16, sampling_rate=64, num_mel_bins=4, max_freq=32), (_NOISE[..., 0],), limit=1e-3
    ),
    "STFTSpectrogram": _layer(layers.STFTSpectrogram("log", 16, 8, 16), (_NOISE,), limit=1e-3),
    "Solarization": _layer(layers.Solarization(0.1, 0.5, value_range=(0, 1)), "colours"),
    "Equalization": _layer(_Of(layers.Equalization(value_range=(0, 1))), "colours"),
    "AutoContrast": _layer(layers.AutoContrast(value_range=(0, 1)), "colours", jumps=True),
    "ContrastLimitedAdaptiveHistogramEqualization": _layer(
        layers.ContrastLimitedAdaptiveHistogramEqualization(value_range=(0, 1), tile_grid_size=(2, 2)), "colours"
    ),
    "Pipeline": _layer(layers.Pipeline([layers.Rescaling(0.5), layers.CenterCrop(4, 4)]), _IMAGE),
}

_MERGED = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
CORE: Table = {
    **{name: _layer(getattr(layers, name)(), "two rows") for name in _MERGED},
    "Dot": _layer(layers.Dot(2), "two rows"),
    "Dot: normalized": _layer(layers.Dot(2, normalize=True), "two rows", floor=1e-5),
    **{f"Activation: {name}": _layer(layers.Activation(name)) for name in ("softmax", "mish", "hard_silu")},
    "ActivityRegularization": _layer(layers.ActivityRegularization(0.1)),
    "Dense": _layer(layers.Dense(3, "softplus")),
    "Dense: one": _layer(layers.Dense(1), "vector"),
    "EinsumDense": _layer(layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")),
    "Embedding": _layer(layers.Embedding(6, 3), "indices"),
    "ReversibleEmbedding": _layer(layers.ReversibleEmbedding(6, 3), "indices"),
    "Identity": _layer(layers.Identity()),
    "Lambda": _layer(layers.Lambda(lambda x: x * 2)),
    "Flatten": _layer(layers.Flatten()),
    "Permute": _layer(layers.Permute((2, 1))),
    "Reshape": _layer(layers.Reshape((3, 8))),
    "RepeatVector": _layer(layers.RepeatVector(3), "vector"),
    **{
        name: _layer(getattr(layers, name)(0.3))
        for name in ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")
    },
    "SpatialDropout1D": _layer(layers.SpatialDropout1D(0.3), _SEQUENCE),
    "SpatialDropout2D": _layer(layers.SpatialDropout2D(0.3), _IMAGE),
    "SpatialDropout3D": _layer(layers.SpatialDropout3D(0.3), _VOLUME),
    "ELU": _layer(layers.ELU(0.7)),
    "LeakyReLU": _layer(layers.LeakyReLU(0.1)),
    "PReLU": _layer(layers.PReLU("ones")),
    "ReLU": _layer(layers.ReLU(6, 0.1, 1)),
    "Softmax": _layer(layers.Softmax()),
    "Softmax: axis": _layer(layers.Softmax(axis=1)),
    "BatchNormalization": _layer(layers.BatchNormalization(), _IMAGE),
    "LayerNormalization": _layer(layers.LayerNormalization(), "random rows", limit=1e-4),
    "RMSNormalization": _layer(layers.RMSNormalization()),
    "GroupNormalization": _layer(layers.GroupNormalization(3), "random image", limit=1e-4),
    "UnitNormalization": _layer(layers.UnitNormalization(), jumps=True),
    "UnitNormalization: axes": _layer(layers.UnitNormalization(axis=(1, 2)), jumps=True),
    "SpectralNormalization": _layer(layers.SpectralNormalization(layers.Dense(3)), limit=1e-4),
    "DepthwiseConv1D": _layer(layers.DepthwiseConv1D(3, 2, "same", depth_multiplier=2), _SEQUENCE),
    "DepthwiseConv2D": _layer(layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2), _IMAGE),
    "DepthwiseConv2D: dilated": _layer(layers.DepthwiseConv2D(3, padding="same", dilation_rate=2), _IMAGE),
    "SeparableConv1D": _layer(layers.SeparableConv1D(4, 3), _SEQUENCE),
    "SeparableConv2D": _layer(layers.SeparableConv2D(4, 3), _IMAGE),
    "Conv2D: groups": _layer(layers.Conv2D(4, 3, groups=2), (floats(6, 6, 4),)),
    "UpSampling2D: bilinear": _layer(layers.UpSampling2D(2, interpolation="bilinear"), _IMAGE),
    "UpSampling2D: bicubic": _layer(layers.UpSampling2D(2, interpolation="bicubic"), _IMAGE),
    "Attention": _layer(layers.Attention(), "two rows", limit=1e-4),
    "AdditiveAttention": _layer(layers.AdditiveAttention(), "two rows", limit=1e-4),
    "MultiHeadAttention": _layer(_OfItself(layers.MultiHeadAttention(2, 3)), "random rows", limit=1e-4),
    "GroupQueryAttention": _layer(_OfItself(layers.GroupQueryAttention(3, 4, 2)), "random rows", limit=1e-4),
}
