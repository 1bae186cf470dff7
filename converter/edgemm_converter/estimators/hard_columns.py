"""Rows of named columns on which a converted estimator may go wrong: the edge inputs of its columns. Pure.

Unseen categories, empty and very long texts, texts of other alphabets, words that stand for no value elsewhere, missing
and infinite numbers, and the ends of integers: each in all columns of its kind at once, and in one column alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UNSET

from edgemm.bundle.manifest import MISSING_TEXT, DType, TensorSpec
from edgemm_converter.children.protocol import SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.edge_values import USUAL
from edgemm_converter.estimators.hard_rows import INFINITE, MISSING, TIES
from edgemm_converter.table_columns.named_columns import Column, Columns
from edgemm_runtime.tensors.element_types import numpy_dtype

UNSEEN, TEXTS, LARGE, OTHER = "unseen values", "odd texts", "large numbers", "other numbers"
"""What an encoder never saw, and may refuse, is `UNSEEN`; other steps refuse numbers too, as those behind log(0)."""

_ALONE, _LONG = 6, 10_000
_WORDS = ("nan", "None", "NaN", "null", "0", "1.0", "Žluťoučký 日本語 🚲", "Zu\u0308rich", "a\u00a0b")


@dataclass(frozen=True)
class Case:
    """Values of some columns in one row; the others are usual."""

    words: str
    family: str
    values: Mapping[str, object]


def rows(
    known: Columns, inputs: Sequence[TensorSpec], usual: Mapping[str, Array], *, ties: Sequence[Mapping[str, object]]
) -> InputSet:
    """Return the edge inputs of columns; `usual` are arrays [rows] by name, `ties` rows at thresholds of trees."""
    cases = list(_cases(known, inputs))
    cases += [Case(f"a threshold of a tree, {place}", TIES, row) for place, row in enumerate(ties, start=1)]
    arrays: dict[str, Array] = {}
    for spec in inputs:
        common = usual[spec.name]
        filled = [case.values.get(spec.name, common[i % len(common)]) for i, case in enumerate(cases)]
        array = np.empty((len(cases), 1), numpy_dtype(spec.dtype))
        array[:, 0] = filled
        arrays[spec.name] = array
    return InputSet(
        "edge", SetKind.EDGE, arrays, len(cases), len(cases), names=tuple(case.words for case in cases),
        families=tuple(case.family for case in cases),
    )  # fmt: skip


def _cases(known: Columns, inputs: Sequence[TensorSpec]) -> Iterator[Case]:
    yield Case("usual values", USUAL, {})
    texts = [spec for spec in inputs if spec.dtype is DType.STRING]
    others = [spec for spec in inputs if spec.dtype is not DType.STRING]
    if lacking := {spec.name: _missing(spec) for spec in inputs if spec.missing is not UNSET}:
        yield Case("all missing", MISSING, lacking)
    for kind in (texts, others):
        by_spec = {spec.name: list(_values(spec, known.of(spec.name))) for spec in kind}
        longest = max(by_spec.values(), key=len, default=[])
        for i, (words, family, _) in enumerate(longest):
            together = {name: values[i][2] for name, values in by_spec.items() if i < len(values)}
            if len(together) > 1:
                mixed = any(by_spec[name][i][1] != family for name in together)
                yield Case(f"{words} in all", OTHER if mixed and family == UNSEEN else family, together)
        for spec in kind[:_ALONE]:
            for words, family, value in by_spec[spec.name]:
                yield Case(f"{words} in column {spec.name!r}", family, {spec.name: value})


def _missing(spec: TensorSpec) -> object:
    return MISSING_TEXT if spec.dtype is DType.STRING else np.nan


def _values(spec: TensorSpec, column: Column) -> Iterator[tuple[str, str, object]]:
    unseen = UNSEEN if column.usual else OTHER
    if spec.missing is not UNSET:
        yield "a missing value", MISSING, _missing(spec)
    if spec.dtype is DType.STRING:
        yield from _texts(column)
    elif spec.dtype is DType.BOOL:
        yield "true", USUAL, True
        yield "false", USUAL, False
    elif spec.dtype is DType.INT64:
        most = max((int(one) for one in column.usual), default=3)
        for number in (most + 1, -1, 0, 2**31, 2**53 + 1, -(2**63)):
            yield f"{number}", unseen, number
    else:
        yield "0", unseen, 0.0
        yield "half of a number", unseen, float(column.usual[0]) + 0.5 if column.usual else column.centre + 0.5
        for sign in (1, -1):
            yield f"{sign * 1e6:g} times the scale", LARGE, column.centre + sign * 1e6 * column.spread
            yield f"{sign * np.inf}", INFINITE, sign * np.inf


def _texts(column: Column) -> Iterator[tuple[str, str, object]]:
    yield "an unseen text", UNSEEN, "zz unseen"
    yield "an empty text", TEXTS, ""
    yield "a blank", TEXTS, " "
    first = str(column.usual[0]) if column.usual else "text"
    for words, text in (("a known text", first), ("a blank behind", f"{first} "), ("other case", first.swapcase())):
        yield words, TEXTS, text
    for text in _WORDS:
        yield f"the text {text!r}", TEXTS, text
    yield f"a text of {_LONG:,} characters", TEXTS, (first + " ") * (_LONG // (len(first) + 1))
