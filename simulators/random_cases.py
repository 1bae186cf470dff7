"""Functions that draw random numbers: `python -m simulators.random_cases` prints as JSON which reach the outputs.

Imports TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from simulators import needs

os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

with needs.imports(__name__, "converter"):
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

    from edgemm_converter.formats import tflite_flow
    from edgemm_converter.sources import graph_flow

SPEC = tf.TensorSpec([None, 3], tf.float32, name="x")
SMALL = 1e-9


class Source(tf.Module):
    """Variables, a generator, and functions of two results of which the first is random."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = tf.random.Generator.from_seed(3)
        self.counted, self.read = tf.Variable(0.0), tf.Variable(2.0)
        self.both = tf.function(lambda x: (x + SMALL * tf.random.uniform([3]), 2 * x), autograph=False)

    def adds_small_noise(self, x: Any) -> Any:
        return x + SMALL * tf.random.normal(tf.shape(x))

    def has_a_seed(self, x: Any) -> Any:
        return x + SMALL * tf.random.normal([3], seed=5)

    def uses_a_generator(self, x: Any) -> Any:
        return x + SMALL * self.generator.normal([3])

    def draws_categories(self, x: Any) -> Any:
        return x + SMALL * tf.cast(tf.random.categorical(x, 3), tf.float32)

    def draws_integers(self, x: Any) -> Any:
        return tf.gather(x, tf.random.uniform([3], maxval=3, dtype=tf.int32), axis=1)

    def shuffles(self, x: Any) -> Any:
        return tf.random.shuffle(x)

    def draws_gamma(self, x: Any) -> Any:
        return x + SMALL * tf.random.gamma([3], 1.0)

    def pools_at_random(self, x: Any) -> Any:
        return tf.nn.fractional_max_pool(x[None, ..., None], [1.0, 1.0, 1.4, 1.0])[0]

    def calls_a_function(self, x: Any) -> Any:
        return self.both(x)[0]

    def draws_in_a_branch(self, x: Any) -> Any:
        return tf.cond(x[0, 0] > 0, lambda: x, lambda: x + SMALL * tf.random.normal([3]))

    def branches_at_random(self, x: Any) -> Any:
        return tf.cond(tf.random.uniform([]) > SMALL, lambda: x, lambda: x + 1)

    def draws_in_a_case(self, x: Any) -> Any:
        return tf.switch_case(tf.cast(x[0, 0], tf.int32), [lambda: x, lambda: tf.random.shuffle(x)])

    def draws_in_a_loop(self, x: Any) -> Any:
        return self._loop(x)[1]

    def loops_at_random(self, x: Any) -> Any:
        return tf.while_loop(lambda _: tf.random.uniform([]) > 0.5, lambda v: (v + 1,), (x,))[0]

    def maps(self, x: Any) -> Any:
        return tf.map_fn(lambda row: row + SMALL * tf.random.normal([3]), x)

    def drops_what_it_draws(self, x: Any) -> Any:
        tf.random.normal([3])
        return x + 1

    def calls_for_the_other_result(self, x: Any) -> Any:
        return self.both(x)[1]

    def loops_for_the_other_result(self, x: Any) -> Any:
        return self._loop(x)[2]

    def has_a_constant_seed(self, x: Any) -> Any:
        return x + tf.random.stateless_normal([3], seed=[1, 2])

    def has_a_branch_for_training(self, x: Any) -> Any:
        training = tf.compat.v1.placeholder_with_default(tf.constant(value=False), [])
        return tf.cond(training, lambda: x + tf.random.normal([3]), lambda: x)

    def has_an_old_branch_for_training(self, x: Any) -> Any:
        training = tf.compat.v1.placeholder_with_default(tf.constant(value=False), [])
        pivots = tf.raw_ops.Switch(data=x, pred=training)
        with tf.control_dependencies([tf.identity(pivots.output_true)]):
            noise = tf.random.normal([3])
        return tf.raw_ops.Merge(inputs=[pivots.output_false, pivots.output_true + noise]).output

    def counts_and_reads(self, x: Any) -> Any:
        self.counted.assign_add(1.0)
        return x + self.read

    def _loop(self, x: Any) -> Any:
        def step(i: Any, noisy: Any, plain: Any) -> Any:
            return i + 1, noisy + SMALL * tf.random.normal([3]), plain + 1

        return tf.while_loop(lambda i, *_: i < 3, step, (0, x, x))


def found(work: Callable[[Source, Any], Any]) -> dict[str, Any]:
    """Trace one function: the kinds of random operations that its outputs need, and the variables."""
    source = Source()
    concrete = tf.function(lambda x: work(source, x), input_signature=[SPEC], autograph=False).get_concrete_function()
    flow = graph_flow.of_graph(concrete.graph)
    kinds = [operation.kind for operation in flow.random(graph_flow.value(t) for t in concrete.outputs)]
    handles = graph_flow.captured(concrete.graph, concrete.outputs)
    read = {name for name in ("counted", "read") if any(getattr(source, name).handle is h for h in handles)}
    return {"random": kinds, "variables": sorted(read)}


def found_in_file(work: Callable[[Source, Any], Any]) -> list[str]:
    """Convert one function to TFLite: the kinds of random operations that the outputs of the file need."""
    source = Source()
    function = tf.function(lambda x: work(source, x), input_signature=[tf.TensorSpec([2, 3])], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], source)
    model = schema.ModelT.InitFromPackedBuf(bytes(converter.convert()), 0)
    return [operation.kind for operation in tflite_flow.random_operations(model, signature=None)]


IN_FILES = (
    Source.adds_small_noise, Source.draws_categories, Source.draws_in_a_branch, Source.draws_in_a_loop,
    Source.loops_for_the_other_result,
)  # fmt: skip

if __name__ == "__main__":
    cases = {name: work for name, work in vars(Source).items() if not name.startswith("_")}
    told = {name: found(work) for name, work in cases.items()}
    for work in IN_FILES:
        told[work.__name__]["file"] = found_in_file(work)
    sys.stdout.write(json.dumps(told))
