"""D: attention."""

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
    return Built(path, model)


def _steps() -> Any:
    return keras.Input((10, 16), name="steps")


def _multi_head() -> keras.Model:
    x = _steps()
    return keras.Model(x, layers.MultiHeadAttention(2, 8, name="attended")(x, x))


def _causal() -> keras.Model:
    x = _steps()
    return keras.Model(x, layers.MultiHeadAttention(2, 8, name="attended")(x, x, use_causal_mask=True))


def _grouped_query() -> keras.Model:
    x = _steps()
    return keras.Model(x, layers.GroupQueryAttention(8, 4, 2, name="attended")(x, x))


def _additive() -> keras.Model:
    query, value = keras.Input((6, 16), name="query"), keras.Input((10, 16), name="value")
    return keras.Model([query, value], layers.AdditiveAttention(name="attended")([query, value]))


def _einsum_dense() -> keras.Model:
    x = _steps()
    return keras.Model(x, layers.EinsumDense("abc,cde->abde", (None, 2, 8), bias_axes="de", name="projected")(x))


def _block(x: Any, *, heads: int = 2, causal: bool = False) -> Any:
    normal = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(heads, 8)(normal, normal, use_causal_mask=causal)
    normal = layers.LayerNormalization()(x)
    return x + layers.Dense(x.shape[-1])(layers.Dense(32, activation="gelu")(normal))


def _vit_tiny() -> keras.Model:
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 8, strides=8)(image))
    x = x + layers.Embedding(16, 16)(ops.arange(16))
    x = layers.GlobalAveragePooling1D()(_block(_block(x)))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="kind")(x))


def _bert_tiny() -> keras.Model:
    words, mask = keras.Input((12,), dtype="int32", name="words"), keras.Input((12,), dtype="int32", name="mask")
    x = layers.Embedding(30, 16, embeddings_initializer="normal")(words)
    x = x + layers.Embedding(12, 16, embeddings_initializer="normal")(ops.arange(12))
    seen = ops.expand_dims(ops.cast(mask, "bool"), 1)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x, attention_mask=seen))
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    return keras.Model([words, mask], {"pooled": layers.Dense(16, activation="tanh")(x[:, 0]), "sequence": x})


def _gpt_tiny() -> keras.Model:
    words = keras.Input((12,), dtype="int32", name="words")
    x = layers.Embedding(30, 16, embeddings_initializer="normal")(words)
    x = x + layers.Embedding(12, 16, embeddings_initializer="normal")(ops.arange(12))
    x = layers.LayerNormalization()(_block(_block(x, causal=True), causal=True))
    return keras.Model(words, layers.Dense(30, name="logits")(x))


def _conformer() -> keras.Model:
    sound = keras.Input((20, 16), name="sound")
    x = sound + 0.5 * layers.Dense(16)(layers.Dense(32, activation="silu")(layers.LayerNormalization()(sound)))
    x = _block(x)
    y = layers.Dense(32)(layers.LayerNormalization()(x))
    y = y[..., :16] * ops.sigmoid(y[..., 16:])
    y = layers.BatchNormalization()(layers.DepthwiseConv1D(5, padding="same")(y))
    return keras.Model(sound, layers.LayerNormalization(name="encoded")(x + layers.Dense(16)(ops.silu(y))))
