"""TensorFlow's converter for concrete functions, without the work whose results it throws away.

TensorFlow's converter saves the function as a SavedModel, with its module, which holds all weights a second time. Then
it loads that back into Python twice: once for statistics about the graph, once to keep variables alive, of which a
frozen function has none. For ResNet50 that is half of the time. The conversion proper is TensorFlow's, and the bytes
are the same. Imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_SIGNATURE = "serving_default"


class FrozenConverter(tf.lite.TFLiteConverter):  # type: ignore[misc]  # TensorFlow ships no types
    """Converts one concrete function that has no variables: make it by `from_concrete_functions`."""

    def _convert_concrete_functions_to_saved_model(self, output_dir: str) -> tuple[Any, Any, Any]:
        """Save the function alone; an empty graph stands for the statistics."""
        (function,) = self._funcs
        try:
            tf.saved_model.save(
                tf.Module(), output_dir, signatures={_SIGNATURE: function},
                options=tf.saved_model.SaveOptions(save_debug_info=True),
            )  # fmt: skip
        except (AssertionError, LookupError, TypeError, ValueError, RuntimeError, tf.errors.OpError):
            return None, None, None  # which has TensorFlow convert the graph as it is
        self.saved_model_dir = output_dir
        self._saved_model_tags = {tf.saved_model.SERVING}
        self._saved_model_exported_names = [_SIGNATURE]
        self._parse_saved_model_args(always_enable_saved_model_import=True)
        inputs = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
        return tf.compat.v1.GraphDef(), inputs, function.outputs
