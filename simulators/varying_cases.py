"""Which outputs have a length that depends on the data, as the converter sees it: `python -m simulators.varying_cases`.

Prints as JSON the outputs of each case and the operation that each comes from. It needs TensorFlow.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "converter"):
    import tensorflow as tf

    from edgemm_converter.sources import saved_model, varying
    from simulators.shaped_models import STEADY, VARYING


def found() -> dict[str, dict[str, str]]:
    """Return the varying outputs of each case."""
    result = {}
    for name, (function, specs) in {**VARYING, **STEADY}.items():
        module = tf.Module()
        module.function = tf.function(function, input_signature=specs)
        module.signatures = {"serving_default": _named(module.function, specs)}
        model = saved_model.serve(module, path=Path(name), signature_name=None, shapes={})
        result[name] = varying.outputs(model, model.concrete(batch=None))
    return result


def _named(function: Callable[..., Any], specs: Sequence[Any]) -> Any:
    """Return a function as the signature of a SavedModel, which takes its inputs by name."""

    def by_name(**given: Any) -> Any:
        return function(**given)

    return tf.function(by_name).get_concrete_function(**{spec.name: spec for spec in specs})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(found()))
