"""Rows of a user that float32 cannot hold, and what a model makes of that: timestamps, identifiers. Pure.

Devices take float32. A number beyond 2^24, such as a time in seconds or the number of a customer, comes there rounded,
and a model that tells such numbers from one another answers something else, without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgemm_converter.data.arrays import Array

_MATTERS = 1e-3
"""From this share of an output's range on, a change of answers is told."""

MOST_ROWS = 512
"""As many rows of a user are looked at."""

Answers = Callable[[Array], Mapping[str, Array]]


def rounded(rows: Array) -> Array | None:
    """Return rows [rows, columns] as float32, None where they are so already."""
    if rows.dtype.kind != "f" or rows.dtype.itemsize <= 4 or not len(rows):
        return None
    with np.errstate(over="ignore"):
        found = rows.astype(np.float32)
    return None if np.array_equal(found.astype(np.float64), rows, equal_nan=True) else found


def warning(some: Array, answers: Answers, *, path: str, names: Sequence[str] = ()) -> str | None:
    """Return what to tell of rows [rows, columns] whose answers change as they become float32; None where none does.

    `answers` answers these rows, of either precision, by name; `names` are those of the columns.
    """
    held = rounded(some)
    if held is None:
        return None
    exact, found = answers(some), answers(held)
    changed = {name: int(_changed(exact[name], found[name]).sum()) for name in exact}
    name, count = max(changed.items(), key=lambda one: one[1])
    if not count:
        return None
    column, before, after = _worst(some, held)
    called = repr(names[column]) if len(names) == some.shape[1] else column
    return (
        f"{path}: devices take float32, and {count} of {len(some)} rows have another {name!r} there: column {called} "
        f"has {before:.17g}, which becomes {after:.17g}: subtract a fixed number from that column before training, or "
        "divide it into several"
    )


def _changed(exact: Array, found: Array) -> Array:
    """Tell of each row whether an answer changed, of whole numbers at all."""
    first, second = (np.asarray(one, np.float64).reshape(len(one), -1) for one in (exact, found))
    usual = first[np.isfinite(first)]
    scale = float(np.ptp(usual)) if usual.size else 0.0
    limit = 0.0 if exact.dtype.kind in "iu" else _MATTERS * scale
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(first - second), nan=0.0)
    return np.asarray((apart > limit).any(axis=1))


def _worst(rows: Array, held: Array) -> tuple[int, float, float]:
    """Return the column that loses most of its spread, one number of it, and what that becomes."""
    usual = np.where(np.isfinite(rows), rows, 0.0)
    lost = np.abs(np.where(np.isfinite(held), held.astype(np.float64), 0.0) - usual)
    spread = usual.std(axis=0)
    column = int((lost.max(axis=0) / np.where(spread > 0, spread, np.inf)).argmax())
    row = int(lost[:, column].argmax())
    return column, float(rows[row, column]), float(held[row, column])
