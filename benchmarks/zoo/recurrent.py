"""C: recurrent models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras import layers

from benchmarks.zoo.models import Built

STEPS = (12, 6)


def build(name: str, folder: Path) -> Built:
    model = globals()[f"_{name}"]()
    path = folder / f"{name}.keras"
    model.save(path)
    return _with_state(path, model) if name == "lstm_stateful" else Built(path, model)


def _with_state(path: Path, model: keras.Model) -> Built:
    """A stateful layer's state is an input and an output of what is served."""
    layer = model.layers[0]
    names = [f"{layer.name}_state_{i}" for i in range(2)]

    def answers(given: Mapping[str, Any]) -> dict[str, Any]:
        for name, variable in zip(names, layer.states, strict=True):
            variable.assign(given[name])
        y = model(given["steps"], training=False)
        return {model.layers[-1].name: y} | {f"next_{n}": v.numpy() for n, v in zip(names, layer.states, strict=True)}

    shapes = {"steps": (1, *STEPS), **dict.fromkeys(names, (1, 8))}
    return Built(path, model, reference=answers, inputs={n: (s, "float32") for n, s in shapes.items()})


def _over_steps(*stack: Any) -> keras.Model:
    return keras.Sequential([keras.Input(STEPS, name="steps"), *stack, layers.Dense(3, name="next")])


def _lstm_last() -> keras.Model:
    return _over_steps(layers.LSTM(8, bias_initializer="normal"))


def _lstm_sequence() -> keras.Model:
    return _over_steps(layers.LSTM(8, return_sequences=True))


def _lstm_state() -> keras.Model:
    steps = keras.Input(STEPS, name="steps")
    h, c = keras.Input((8,), name="h"), keras.Input((8,), name="c")
    y, h_out, c_out = layers.LSTM(8, return_sequences=True, return_state=True)(steps, initial_state=[h, c])
    return keras.Model({"steps": steps, "h": h, "c": c}, {"y": y, "h_out": h_out, "c_out": c_out})


def _lstm_stateful() -> keras.Model:
    return keras.Sequential(
        [keras.Input(batch_shape=(1, *STEPS), name="steps"), layers.LSTM(8, stateful=True), layers.Dense(3)]
    )


def _gru_reset_after() -> keras.Model:
    return _over_steps(layers.GRU(8, bias_initializer="normal"))


def _gru_reset_before() -> keras.Model:
    return _over_steps(layers.GRU(8, reset_after=False, bias_initializer="normal"))


def _gru_sequence() -> keras.Model:
    return _over_steps(layers.GRU(8, return_sequences=True, go_backwards=True))


def _simple_rnn() -> keras.Model:
    return _over_steps(layers.SimpleRNN(8))


def _bilstm() -> keras.Model:
    return _over_steps(layers.Bidirectional(layers.LSTM(8, return_sequences=True)))


def _bigru() -> keras.Model:
    return _over_steps(layers.Bidirectional(layers.GRU(8), merge_mode="sum"))


def _stacked_lstm() -> keras.Model:
    return _over_steps(layers.LSTM(8, return_sequences=True), layers.LSTM(6, return_sequences=True), layers.LSTM(4))


def _masked_embedding_lstm() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((12,), dtype="int32", name="words"),
            layers.Embedding(20, 6, mask_zero=True, embeddings_initializer="normal"),
            layers.LSTM(8),
            layers.Dense(3),
        ]
    )


def _conv_lstm2d() -> keras.Model:
    return keras.Sequential([keras.Input((4, 8, 8, 2), name="film"), layers.ConvLSTM2D(3, 3), layers.Flatten()])


def _time_distributed_cnn_lstm() -> keras.Model:
    picture = keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()])
    return keras.Sequential(
        [keras.Input((5, 8, 8, 1), name="film"), layers.TimeDistributed(picture), layers.LSTM(6), layers.Dense(3)]
    )


def _seq2seq() -> keras.Model:
    source, target = keras.Input((10, 4), name="source"), keras.Input((7, 5), name="target")
    _, h, c = layers.LSTM(8, return_state=True)(source)
    y = layers.LSTM(8, return_sequences=True)(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(5, activation="softmax", name="words")(y))
