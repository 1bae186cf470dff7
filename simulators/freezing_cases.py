"""Functions with variables, frozen: `python -m simulators.freezing_cases` prints as JSON what became of each.

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
    import numpy as np
    import tensorflow as tf

    from edgemm.bundle.engine_facts import Engine
    from edgemm_converter import rewrites

X = np.arange(6, dtype=np.float32).reshape(2, 3)
SPEC = tf.TensorSpec(X.shape, tf.float32)


class Source(tf.Module):
    """Variables, and ways to use them."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.arange(9, dtype=np.float32).reshape(3, 3) / 10)
        self.phase = tf.Variable(np.array([1j, 1, -1j], np.complex64))
        self.unused = tf.Variable(np.ones(3, np.float32))
        self.constant = tf.constant([1.0, 2.0, 3.0])
        self.switched = tf.function(self._switched, autograph=False)
        self.double = tf.function(lambda x: 2 * x @ self.weights, autograph=False)

    def _switched(self, x: Any) -> Any:
        return tf.switch_case(tf.cast(x[0, 1], tf.int32), [lambda: x, lambda: x * 2, lambda: x @ self.weights])

    def switches_in_a_function(self, x: Any) -> Any:
        return self.switched(x)

    def branches_in_branches(self, x: Any) -> Any:
        def inner() -> Any:
            return tf.cond(x[0, 2] > 1, lambda: tf.cond(x[1, 0] > 9, lambda: x, lambda: x @ self.weights), lambda: -x)

        return tf.cond(x[0, 1] > 0, inner, lambda: x)

    def plain(self, x: Any) -> Any:
        return tf.nn.relu(x @ self.weights) @ self.weights

    def reads_what_it_does_not_use(self, x: Any) -> Any:
        self.unused.read_value()
        return self.plain(x)

    def calls_a_function(self, x: Any) -> Any:
        return self.double(x)

    def loops(self, x: Any) -> Any:
        return tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v @ self.weights), (0, x))[1]

    def uses_a_captured_constant(self, x: Any) -> Any:
        return x * self.constant

    def gives_a_captured_constant(self, x: Any) -> Any:
        return tf.identity(x), self.constant

    def gathers(self, x: Any) -> Any:
        return x + tf.gather(self.weights, [0, 2])

    def is_complex(self, x: Any) -> Any:
        return tf.math.real(tf.cast(x, tf.complex64) * self.phase)

    def writes_what_it_does_not_use(self, x: Any) -> Any:
        self.unused.assign_add(tf.ones(3))
        return self.double(x)


CASES: tuple[Callable[[Source, Any], Any], ...] = (
    Source.plain, Source.reads_what_it_does_not_use, Source.calls_a_function, Source.loops,
    Source.uses_a_captured_constant, Source.gives_a_captured_constant, Source.gathers, Source.is_complex,
    Source.writes_what_it_does_not_use, Source.switches_in_a_function, Source.branches_in_branches,
)  # fmt: skip


def found(work: Callable[[Source, Any], Any]) -> dict[str, Any]:
    """Freeze one function: by the short way or not, what variables are left, and how far its outputs moved."""
    source = Source()
    concrete = tf.function(lambda x: work(source, x), input_signature=[SPEC], autograph=False).get_concrete_function()
    frozen = rewrites.freeze(concrete)
    run = rewrites.rewritten(frozen, engine=Engine.TFLITE, layer=str)
    written = tf.function(lambda x: run([x]), autograph=False).get_concrete_function(SPEC)
    expected = tf.nest.flatten(concrete(tf.constant(X)))
    error = max(np.abs(a - b).max() for a, b in zip(written(tf.constant(X)), expected, strict=True))
    return {"short": bool(frozen.values), "variables": len(written.variables), "error": float(error)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({work.__name__: found(work) for work in CASES}))
