"""Source models of awkward kinds, converted: `python -m simulators.source_cases` prints as JSON how far each is off.

Imports TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import keras
    import numpy as np
    import onnxruntime
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from keras import layers

    from edgemm.bundle.manifest import Precision
    from edgemm.errors import EdgemmError
    from edgemm_converter.export import float_file, learned_ranges, onnx, quantization, tflite
    from edgemm_converter.sources import keras3, saved_model
    from edgemm_converter.sources.served_function import SourceFunction

_RNG = np.random.default_rng(3)
ROWS = _RNG.normal(size=(1, 4)).astype(np.float32)
SERIES = _RNG.normal(size=(1, 6, 4)).astype(np.float32)
FRAMES = _RNG.normal(size=(1, 3, 5, 2)).astype(np.float32)
CODES = np.array([[10, 4000, 11, -1, 2**40, 50000, 10]])
VOCABULARY = np.array([10, 20, 300, 4000, 50000])
ODD_NAMES = (
    "Mein Modell №1",
    "größe in mm",
    "a b",
    "a_b",
    "a-b",
    "A B",
    "say 'x' \"y\"",
    "1st",
    "_",
    "模型",
    "b\\c",
    " ",
)
DROPOUT: Mapping[str, float] = {"dropout": 0.4, "recurrent_dropout": 0.3}
Case = tuple[Any, Any]
"""A model, and what it is given."""


def _stack(*stack: keras.Layer, shape: tuple[int, ...] = (6, 4)) -> keras.Model:
    return keras.Sequential([keras.Input(shape, name="x"), *stack, layers.Flatten(), layers.Dense(2, name="y")])


def odd_names() -> Case:
    x = given = keras.Input((4,), name="class")
    for name in ODD_NAMES:
        x = layers.Dense(4, activation="tanh", name=name)(x)
    return keras.Model(given, x, name="Größe (1)"), ROWS


def odd_names_of_cells() -> Case:
    return _stack(layers.Bidirectional(layers.LSTM(2, name="zelle ü"), name="in beide")), SERIES


def dropout_in_layers() -> Case:
    bidirectional = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True, **DROPOUT))
    return _stack(layers.LSTM(3, return_sequences=True, **DROPOUT), bidirectional, layers.GRU(2, **DROPOUT)), SERIES


def dropout_in_cells() -> Case:
    cells = [layers.LSTMCell(3, **DROPOUT), layers.GRUCell(2, **DROPOUT)]
    return _stack(layers.TimeDistributed(layers.Dropout(0.5)), layers.RNN(layers.StackedRNNCells(cells))), SERIES


def dropout_in_convolutions() -> Case:
    return _stack(layers.ConvLSTM1D(2, 2, **DROPOUT), shape=(3, 5, 2)), FRAMES


def dropout_unrolled_and_saved() -> Case:
    model = _stack(layers.LSTM(3, unroll=True, **DROPOUT))
    return _saved(lambda folder: model.export(folder, verbose=False)), SERIES


def _of_policy(policy: str, *stack: Callable[[], keras.Layer]) -> keras.Model:
    keras.config.set_dtype_policy(policy)
    try:
        return _stack(*(make() for make in stack))
    finally:
        keras.config.set_dtype_policy("float32")


def mixed_bfloat16() -> Case:
    return _of_policy(
        "mixed_bfloat16", lambda: layers.Conv1D(3, 2, activation="gelu"), layers.LayerNormalization
    ), SERIES


def pure_float16() -> Case:
    return _of_policy("float16", lambda: layers.LSTM(3), lambda: layers.Dense(3)), SERIES


def pure_float64() -> Case:
    return _of_policy("float64", lambda: layers.GRU(3), lambda: layers.Dense(3)), SERIES


def layers_of_all_precisions() -> Case:
    kinds = ("bfloat16", "float64", "mixed_float16", "float16")
    return _stack(*(layers.Dense(3, activation="tanh", dtype=kind) for kind in kinds)), SERIES


def _lookup(**options: Any) -> keras.Model:
    codes = keras.Input((CODES.shape[1],), dtype="int64", name="x")
    return keras.Model(codes, layers.IntegerLookup(vocabulary=VOCABULARY, name="y", **options)(codes))


def lookup_one_hot() -> Case:
    codes = keras.Input((1,), dtype="int32", name="x")
    known = layers.IntegerLookup(vocabulary=VOCABULARY, output_mode="one_hot", name="y")
    return keras.Model(codes, known(codes)), np.array([[4000]])


def lookup_with_a_mask() -> Case:
    return _lookup(mask_token=0), CODES


def lookup_inverted() -> Case:
    return _lookup(invert=True), np.array([[0, 1, 2, 3, 4, 5, 5]])


def lookup_saved() -> Case:
    model = _lookup()
    return _saved(lambda folder: model.export(folder, verbose=False)), CODES


class _Table(tf.Module):
    def __init__(self, keys: Any, values: Any, lookup: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        filled = tf.lookup.KeyValueTensorInitializer(keys, values)
        self.table = tf.lookup.StaticHashTable(filled, tf.constant(-1, values.dtype))
        spec = [tf.TensorSpec([None, CODES.shape[1]], tf.int64, name="x")]
        self.serve = tf.function(lambda x: {"y": lookup(self.table, x)}, input_signature=spec, autograph=False)


def _of_table(keys: Any, values: Any, lookup: Callable[[Any, Any], Any]) -> Any:
    module = _Table(keys, values, lookup)
    return _saved(lambda folder: tf.saved_model.save(module, folder, signatures=module.serve))


def table_of_numbers() -> Case:
    return _of_table(tf.constant(VOCABULARY), tf.constant([0.5, 2, -3, 4, 9]), lambda table, x: table.lookup(x)), CODES


def table_of_many_close_keys() -> Case:
    keys, size = tf.range(-200, 800, 7, tf.int64), len(range(-200, 800, 7))
    wanted = np.array([[-200, 796, 793, 10, -(2**62), 2**62, -1]])
    return _of_table(keys, tf.range(size, dtype=tf.int64), lambda t, x: t.lookup(x) + t.size()), wanted


def table_of_written_numbers() -> Case:
    keys = tf.constant(["10", "x", "-1", "007"])
    return _of_table(keys, tf.range(4), lambda table, x: table.lookup(tf.strings.as_string(x))), CODES


def table_in_a_branch() -> Case:
    def lookup(table: Any, x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: table.lookup(x), lambda: x)

    return _of_table(tf.constant(VOCABULARY), tf.constant(VOCABULARY), lookup), CODES


class _Rounding(tf.Module):
    """Weights and values that are rounded as in training for integers."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(_RNG.normal(size=(4, 3)).astype(np.float32))
        self.serve = tf.function(
            self._serve, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")], autograph=False
        )

    def _serve(self, x: Any) -> dict[str, Any]:
        largest = tf.reduce_max(tf.abs(self.weights), axis=0)
        weights = tf.quantization.fake_quant_with_min_max_vars_per_channel(self.weights, -largest, largest)
        hidden = tf.nn.relu(tf.quantization.fake_quant_with_min_max_args(x, -4.0, 4.0) @ weights)
        return {"y": tf.quantization.fake_quant_with_min_max_vars(hidden, 0.0, 5.0)}


def trained_for_integers() -> Case:
    module = _Rounding()
    return _saved(lambda folder: tf.saved_model.save(module, folder, signatures=module.serve)), ROWS


def quantized_by_keras() -> Case:
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3, name="y")])
    model.quantize("int8")
    return model, ROWS


def quantized_to_float8() -> Case:
    model = _stack(layers.Dense(3, activation="relu"))
    model.quantize("float8")
    return model, SERIES


def _saved(save: Callable[[str], None]) -> Any:
    folder = tempfile.mkdtemp(dir=_FOLDER.name)
    save(folder)
    return tf.saved_model.load(folder)


_FOLDER = tempfile.TemporaryDirectory()
CASES: tuple[Callable[[], Case], ...] = (
    odd_names, odd_names_of_cells, dropout_in_layers, dropout_in_cells, dropout_in_convolutions,
    dropout_unrolled_and_saved, mixed_bfloat16, pure_float16, pure_float64, layers_of_all_precisions, lookup_one_hot,
    lookup_with_a_mask, lookup_inverted, lookup_saved, table_of_numbers, table_of_many_close_keys,
    table_of_written_numbers, table_in_a_branch, trained_for_integers, quantized_by_keras,
    quantized_to_float8,
)  # fmt: skip


def measured(make: Callable[[], Case]) -> dict[str, Any]:
    """Return the largest error of each format, as a share of the largest value, and the types that are served."""
    keras.utils.set_random_seed(7)
    model, given = make()
    path = Path("model")
    if isinstance(model, keras.Model):
        source = keras3.serve(model, path=path, shapes={})
        answered = model(given)
    else:
        source = saved_model.serve(model, path=path, signature_name=None, shapes={})
        answered = next(iter(model.signatures["serving_default"](tf.constant(given)).values()))
    expected = np.asarray(tf.cast(answered, tf.float64))
    files = {"tflite": lambda: _tflite(source, given), "onnx": lambda: _onnx(source, given)}
    found = {name: _error(run, expected) for name, run in files.items()}
    types = [spec.dtype.value for spec in (*source.signature.inputs, *source.signature.outputs)]
    return {**found, "types": types, "notes": len(source.notes)}


def _error(run: Callable[[], Any], expected: Any) -> float | str:
    try:
        return float(np.abs(run().astype(np.float64) - expected).max() / np.abs(expected).max())
    except EdgemmError as err:
        return str(err)


def _tflite(source: SourceFunction, given: Any) -> Any:
    runner = Interpreter(model_content=tflite.convert_float(source)).get_signature_runner()
    (dtype,) = (spec.dtype.value for spec in source.signature.inputs)
    (name,) = source.input_ids.values()
    return next(iter(runner(**{name: given.astype(dtype)}).values()))


def _onnx(source: SourceFunction, given: Any) -> Any:
    session = onnxruntime.InferenceSession(onnx.convert(source), providers=["CPUExecutionProvider"])
    (asked,) = session.get_inputs()
    (dtype,) = (spec.dtype.value for spec in source.signature.inputs)
    return session.run(None, {asked.name: given.astype(dtype)})[0]


def ranges() -> dict[str, Any]:
    """Return the ranges that a model learned and how its 8-bit file, made with other data, is scaled."""
    model, _ = trained_for_integers()
    source = saved_model.serve(model, path=Path("model"), signature_name=None, shapes={})
    file = tflite.convert_float(source)
    narrow = {"x": np.random.default_rng(5).normal(size=(20, 1, 4)).astype(np.float32) / 10}
    quantized = quantization.quantize(file, Precision.INT8, calibration=narrow)
    described = float_file.describe(quantized, source)
    scales = [tensor.quantization.scale for tensor in (*described.inputs, *described.outputs) if tensor.quantization]
    return {"learned": sorted(learned_ranges.taken_out(file).ranges.values()), "scales": scales}


if __name__ == "__main__":
    found = {make.__name__: measured(make) for make in CASES}
    sys.stdout.write(json.dumps({**found, "ranges": ranges()}))
