"""The conversion of encoders and imputers of columns, texts among them: a category becomes its place, and that values.

What an unknown category means is decided in the graph: zeros, a value, the group of rare ones; where the encoder
refuses it, a node that takes no such place fails, and an engine refuses the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemm.bundle.manifest import MISSING_TEXT, DType
from edgemm.errors import ConversionError
from edgemm_converter.table_columns.graph_parts import ML_DOMAIN, ColumnPart, Nodes
from edgemm_converter.table_columns.named_columns import is_missing, kept_of

_NONE = -1


def one_hot(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return whether each column has each of its categories, as OneHotEncoder has them."""
    made = []
    for i, part in enumerate(nodes.apart(parts)):
        places, unknown, width = _outputs(step, i)
        if width == 0:
            continue
        place = _mapped(nodes, part, step.categories_[i], places, unknown)
        wanted = nodes.constant(np.arange(width, dtype=np.int64)[np.newaxis])
        hot = nodes.cast(nodes.add("Equal", place, wanted), nodes.kind)
        made.append(ColumnPart(hot, nodes.number, width))
    return made


def _outputs(step: Any, i: int) -> tuple[list[int], int | None, int]:
    """Return the output of each category, that of an unknown one (None: refused), and how many outputs there are."""
    count = len(step.categories_[i])
    enabled = getattr(step, "_infrequent_enabled", False)
    mappings = step._default_to_infrequent_mappings if enabled else None  # noqa: SLF001 - nothing public has them
    rare = mappings[i] if mappings is not None else None
    grouped = [int(one) for one in rare] if rare is not None else list(range(count))
    width = max(grouped, default=-1) + 1
    dropped = getattr(step, "_drop_idx_after_grouping", None)
    drop = dropped[i] if dropped is not None else None

    def after(place: int) -> int:
        return place if drop is None or place < drop else (_NONE if place == drop else place - 1)

    unknown: int | None = _NONE
    if step.handle_unknown == "error":
        unknown = None
    elif step.handle_unknown != "ignore" and rare is not None:
        unknown = after(width - 1)
    return [after(one) for one in grouped], unknown, width - (drop is not None)


def ordinal(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return the place of each category as a number, as OrdinalEncoder has it."""
    enabled = getattr(step, "_infrequent_enabled", False)
    made = []
    for i, part in enumerate(nodes.apart(parts)):
        known = step.categories_[i]
        mapping = step._default_to_infrequent_mappings[i] if enabled else None  # noqa: SLF001 - nothing public has it
        values = np.array([float(one) for one in (mapping if mapping is not None else range(len(known)))])
        values[[is_missing(one) for one in np.asarray(known, object)]] = step.encoded_missing_value
        unknown = None if step.handle_unknown == "error" else float(step.unknown_value)
        made.append(_valued(nodes, part, known, values[:, np.newaxis], None if unknown is None else [unknown]))
    return made


def target(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return what TargetEncoder knows of each category: a mean, or one for each class."""
    means = np.ravel(step.target_mean_).astype(np.float64)
    return [
        _valued(
            nodes, part, step.categories_[i], np.stack(step.encodings_[i * len(means) : (i + 1) * len(means)], axis=1),
            means,
        )
        for i, part in enumerate(nodes.apart(parts))
    ]  # fmt: skip


def _valued(nodes: Nodes, part: ColumnPart, known: Any, values: Any, unknown: Any) -> ColumnPart:
    """Return for each category its row of `values` [categories, width], and `unknown` [width] for any other."""
    place = _place(nodes, part, known)
    table = values if unknown is None else np.concatenate([values, np.asarray(unknown)[np.newaxis]])
    rows = nodes.constant(np.asarray(table).astype(nodes.kind))
    flat = nodes.add("Reshape", place, nodes.constant(np.array([-1], np.int64)))
    return ColumnPart(nodes.add("Gather", rows, flat, axis=0), nodes.number, table.shape[1])


def _mapped(nodes: Nodes, part: ColumnPart, known: Any, places: Sequence[int], unknown: int | None) -> str:
    values = [*places] if unknown is None else [*places, unknown]
    table = nodes.constant(np.array(values, np.int64))
    return nodes.add("Gather", table, _place(nodes, part, known), axis=0)


def _place(nodes: Nodes, part: ColumnPart, known: Any) -> str:
    """Return the place [rows, 1] of each value among known categories; behind the last for one that is none."""
    listed = np.asarray(known, object).tolist()
    missing = [i for i, one in enumerate(listed) if is_missing(one)]
    if len(missing) > 1:
        raise ConversionError("an encoder with several categories for missing values (None and NaN) is not converted")
    if part.dtype is DType.STRING:
        keys = [MISSING_TEXT if is_missing(one) else str(one) for one in listed]
        if any(not isinstance(one, str) for i, one in enumerate(listed) if i not in missing):
            raise ConversionError(f"column {part.column!r} has texts and numbers among its categories: make them texts")
        return nodes.add(
            "LabelEncoder", part.name, domain=ML_DOMAIN, keys_strings=keys, values_int64s=list(range(len(keys))),
            default_int64=len(keys),
        )  # fmt: skip
    whole = part.dtype is DType.INT64 and all(isinstance(one, int) for one in listed)
    kind = "int64" if whole else "float64"
    name = part.name if part.dtype.value == kind else nodes.cast(part.name, kind)
    values = np.array([np.nan if is_missing(one) else one for one in listed], kind)[np.newaxis]
    same = nodes.cast(nodes.add("Equal", name, nodes.constant(values)), "float32")
    one_more = nodes.constant(np.array([0, 0, 0, 1], np.int64))
    found = nodes.add("Pad", same, one_more, nodes.constant(np.array(1.0, np.float32)))
    place = nodes.add("ArgMax", found, axis=1, keepdims=1)
    if missing:
        at = nodes.constant(np.array([missing[0]], np.int64))
        place = nodes.add("Where", nodes.add("IsNaN", name), at, place)
    return place


def bins(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return the bin of each number, or whether it is in each bin, as KBinsDiscretizer has them."""
    made = []
    for i, part in enumerate(nodes.apart(parts)):
        edges = nodes.constant(np.asarray(step.bin_edges_[i][1:-1], np.float64)[np.newaxis])
        over = nodes.add("GreaterOrEqual", nodes.cast(part.name, "float64"), edges)
        axis = nodes.constant(np.array([1], np.int64))
        place = nodes.add("ReduceSum", nodes.cast(over, "int64"), axis, keepdims=1)
        width = 1
        if step.encode != "ordinal":
            width = int(step.n_bins_[i])
            place = nodes.add("Equal", place, nodes.constant(np.arange(width, dtype=np.int64)[np.newaxis]))
        made.append(ColumnPart(nodes.cast(place, nodes.kind), nodes.number, width))
    return made


def imputer(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return columns in which SimpleImputer fills in what is missing, and its indicators behind them."""
    singles = nodes.apart(parts)
    made = [_filled(nodes, singles[i], step.missing_values, step.statistics_[i]) for i in kept_of(step)]
    if step.add_indicator:
        made += indicator(nodes, step.indicator_, singles)
    return made


def indicator(nodes: Nodes, step: Any, parts: list[ColumnPart]) -> list[ColumnPart]:
    """Return whether values are missing, of the columns that MissingIndicator watches."""
    singles = nodes.apart(parts)
    return [
        ColumnPart(nodes.cast(_absent(nodes, singles[int(i)], step.missing_values), nodes.kind), nodes.number)
        for i in step.features_
    ]


def _filled(nodes: Nodes, part: ColumnPart, missing: Any, value: Any) -> ColumnPart:
    if part.dtype is DType.STRING:
        absent = _absent(nodes, part, missing)
        filled = nodes.constant(np.array([[MISSING_TEXT if is_missing(value) else str(value)]], object))
        return ColumnPart(nodes.add("Where", absent, filled, part.name), DType.STRING, 1, part.column)
    dtype = part.dtype if part.dtype in (DType.FLOAT64, DType.FLOAT32) else nodes.number
    dtype = nodes.number if dtype is DType.FLOAT32 else dtype
    name = part.name if part.dtype is dtype else nodes.cast(part.name, dtype.value)
    given = ColumnPart(name, dtype, 1, part.column)
    filled = nodes.constant(np.array([[float(value)]], dtype.value))
    return ColumnPart(nodes.add("Where", _absent(nodes, given, missing), filled, name), dtype, 1, part.column)


def _absent(nodes: Nodes, part: ColumnPart, missing: Any) -> str:
    if part.dtype is DType.STRING:
        told = MISSING_TEXT if is_missing(missing) else str(missing)
        return nodes.add(
            "Equal",
            nodes.add(
                "LabelEncoder", part.name, domain=ML_DOMAIN, keys_strings=[told], values_int64s=[1], default_int64=0
            ),
            nodes.constant(np.array([[1]], np.int64)),
        )
    name = part.name if part.dtype in (DType.FLOAT32, DType.FLOAT64) else nodes.cast(part.name, "float64")
    if is_missing(missing):
        return nodes.add("IsNaN", name)
    dtype = part.dtype.value if part.dtype in (DType.FLOAT32, DType.FLOAT64) else "float64"
    return nodes.add("Equal", name, nodes.constant(np.array([[float(missing)]], dtype)))
