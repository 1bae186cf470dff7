"""Equal ways to compute what an engine has no operation for; the parity gate proves each on every conversion.

`layers` replaces the work of Keras layers while a model is traced, `graph` operations of the frozen graph, whatever
kind of source it came from. The source that variants are compared with is never rewritten, so that a rewrite that were
not equal would be found.
"""

from edgemm_converter.rewrites.frozen import FrozenGraph, freeze
from edgemm_converter.rewrites.graph import needed, rewritten
from edgemm_converter.rewrites.layers import in_effect
from edgemm_converter.rewrites.weights import large

__all__ = ["FrozenGraph", "freeze", "in_effect", "large", "needed", "rewritten"]
