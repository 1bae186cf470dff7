"""Rewrites of operations that an engine lacks into equal ones; the parity gate proves each in every conversion.

`layers` replaces the work of Keras layers while a model is traced. `graph` replaces operations of the frozen graph,
whatever kind of source it came from. The source that variants are compared with is never rewritten, so that a rewrite
that is not equal is found.
"""

from edgemm_converter.rewrites import simulated_quantization
from edgemm_converter.rewrites.frozen import WRITES, FrozenGraph, constants, freeze, needed
from edgemm_converter.rewrites.functions import inlined
from edgemm_converter.rewrites.graph import rewritten
from edgemm_converter.rewrites.single_precision import DOUBLES, HALVES, in_single, used
from edgemm_converter.rewrites.weights import large

__all__ = [
    "DOUBLES",
    "HALVES",
    "WRITES",
    "FrozenGraph",
    "constants",
    "freeze",
    "in_single",
    "inlined",
    "large",
    "needed",
    "rewritten",
    "simulated_quantization",
    "used",
]  # fmt: skip
