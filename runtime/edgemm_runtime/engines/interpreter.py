"""The `Interpreter` class for TFLite files: LiteRT's, or that of its predecessor `tflite-runtime`; and its kernels.

from edgemm_runtime.engines.interpreter import Interpreter
"""

from __future__ import annotations

from edgemm.bundle.engine_facts import Engine
from edgemm_runtime.installed import entry_of

SURVIVES_LIMITS = entry_of(Engine.TFLITE).distribution != "tflite-runtime"
"""Whether memory that it is not given ends an inference with an error; `tflite-runtime` writes to it all the same."""

# What is installed and does not import is an error to be told, and no reason to take the other one.
if not SURVIVES_LIMITS:
    from tflite_runtime.interpreter import Interpreter, OpResolverType
else:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

__all__ = ["SURVIVES_LIMITS", "Interpreter", "OpResolverType"]
