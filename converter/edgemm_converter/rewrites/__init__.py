"""Rewrites of operations that an engine lacks into equal ones; the parity gate proves each in every conversion.

`layers` replaces the work of Keras layers while a model is traced. `graph` replaces operations of the frozen graph,
whatever kind of source it came from. The source that variants are compared with is never rewritten, so that a rewrite
that is not equal is found.
"""

from edgemm_converter.rewrites.frozen import FrozenGraph, freeze, needed
from edgemm_converter.rewrites.graph import rewritten
from edgemm_converter.rewrites.traced_layers import in_effect
from edgemm_converter.rewrites.weights import large

__all__ = ["FrozenGraph", "freeze", "in_effect", "large", "needed", "rewritten"]
