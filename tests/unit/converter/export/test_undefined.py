"""NaN that reaches an operation without a rule for it: what is found in a source's graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_it_is_found_where_a_relu_may_swallow_it_and_nowhere_else() -> None:
    import tensorflow as tf

    from edgemm_converter.export import undefined

    weights = tf.Variable(np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32))

    def concrete(function: Any) -> Any:
        return tf.function(function, input_signature=[tf.TensorSpec([1, 2])]).get_concrete_function()

    finder = undefined.finder(concrete(lambda x: tf.nn.relu(tf.matmul(tf.math.log(x), weights))))
    assert finder is not None
    answers = [finder([np.array([values], np.float32)]) for values in ((1, 2), (0, 0), (0, 2), (-1, 2))]
    assert answers == [False, True, False, True]
    assert undefined.finder(concrete(tf.math.log)) is None
    assert undefined.finder(concrete(lambda x: tf.nn.relu(tf.matmul(x, weights)))) is None
