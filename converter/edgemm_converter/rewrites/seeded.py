"""Random numbers drawn from a constant seed, rewritten as the constants that they are. Imports TensorFlow.

The `Stateless…` operations are functions of their seed. Engines have none of them, and TensorFlow's own random numbers
are those that the source answers with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from edgemm_converter.rewrites.frozen import needed
from edgemm_converter.rewrites.values import Copy, Rules, Value


def _drawn(operation: Any, _inputs: Sequence[Value], _copy: Copy) -> Sequence[Value] | None:
    if any(one.type == "Placeholder" for one in needed(operation.outputs)):
        return None
    with tf.compat.v1.Session(graph=operation.graph) as session:
        found = session.run(list(operation.outputs))
    return [tf.constant(value) for value in found]


RULES: Rules = dict.fromkeys(
    (
        "StatelessMultinomial", "StatelessParameterizedTruncatedNormal", "StatelessRandomBinomial",
        "StatelessRandomGammaV2", "StatelessRandomGammaV3", "StatelessRandomGetAlg", "StatelessRandomGetKeyCounter",
        "StatelessRandomGetKeyCounterAlg", "StatelessRandomNormal", "StatelessRandomNormalV2", "StatelessRandomPoisson",
        "StatelessRandomUniform", "StatelessRandomUniformFullInt", "StatelessRandomUniformFullIntV2",
        "StatelessRandomUniformInt", "StatelessRandomUniformIntV2", "StatelessRandomUniformV2", "StatelessShuffle",
        "StatelessTruncatedNormal", "StatelessTruncatedNormalV2",
    ),
    _drawn,
)  # fmt: skip
