"""The conversion of what skl2onnx writes: estimators and steps of numbers, with edgemm's own conversions in its place.

Imports skl2onnx.
"""

from __future__ import annotations

import re
import warnings
from itertools import product
from typing import Any

from edgemm import library_errors
from edgemm.errors import ConversionError
from edgemm_converter.estimators import ensemble_graph
from edgemm_converter.estimators.onnx_session import FAILURES

OPSETS = {"": 17, ensemble_graph.ML_DOMAIN: 3}
ROWS = "rows_as_computed"
_LATER_OPSET = 18
"""What a few converters of skl2onnx need, such as that of KNNImputer."""


def converted(model: Any, columns: int, *, double: bool, raw_scores: bool = False) -> Any:
    """Return an ONNX model of an estimator of one table `ROWS` [rows, columns], in single or double precision.

    Raises:
        ConversionError: there is no conversion of it; names the class.
    """
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    from edgemm_converter.estimators import registration

    registration.register()
    registration.prepare(model)
    kind = DoubleTensorType if double else FloatTensorType
    last: BaseException | None = None
    # Some of its converters take versions by domain alone, some one number alone.
    opsets_tried = (OPSETS, OPSETS[""], {**OPSETS, "": _LATER_OPSET})
    for options, opsets in product([{"raw_scores": True}, {}] if raw_scores else [{}], opsets_tried):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return skl2onnx.to_onnx(
                    model, initial_types=[(ROWS, kind([None, columns]))], target_opset=opsets,
                    options={id(_last_step(model)): options} if options else None,
                )  # fmt: skip
        except FAILURES as err:
            last = err
    assert last is not None
    raise _refusal(model, last) from last


def _last_step(found: Any) -> Any:
    steps = getattr(found, "steps", None)
    return _last_step(steps[-1][1]) if steps else found


def _refusal(model: Any, err: BaseException) -> ConversionError:
    name = type(model).__name__
    missing = re.search(r"for type '<class '([\w.]+)'>'", str(err))
    if missing is not None or type(err).__name__ in ("MissingShapeCalculator", "MissingConverter"):
        path = (missing[1] if missing else f"{type(model).__module__}.{name}").rpartition(".")
        own = (
            ""
            if path[0].startswith("sklearn.")
            else (
                f", or name with --custom-objects a module that tells skl2onnx.update_registered_converter of {path[2]}"
            )
        )
        return ConversionError(
            f"{path[2]} of {path[0].partition('.')[0]} has no conversion to ONNX: leave this step out, or do its work "
            f"before the model{own}"
        )
    return ConversionError(f"{name} cannot be converted to ONNX: {library_errors.quoted(err)}")
