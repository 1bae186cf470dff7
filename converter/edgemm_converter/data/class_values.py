"""The places of classes that labelled data name by their values, as a classifier of scikit-learn has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemm.errors import InputError
from edgemm_converter.data.arrays import Array

_SHOWN = 5


def places(values: Array, classes: Sequence[str], *, names: Sequence[str] | None, path: str) -> Array:
    """Return the place of each label [samples] among the classes of a model.

    A label is the value of a class, or its name among `names`, which a user gave in place of `classes`. Where no class
    is a number, whole numbers are places already; so are one-hot rows.

    Raises:
        InputError: one is neither.
    """
    if values.ndim != 1:
        return values
    by_text = {one: place for known in (classes, names or ()) for place, one in enumerate(known)}
    by_number = {number: place for place, one in enumerate(classes) if (number := _number(one)) is not None}
    if values.dtype.kind in "iuf" and not by_number:
        return values
    found = [_place(value, by_text, by_number) for value in values.tolist()]
    if None in found:
        shown = ", ".join(map(repr, classes[:_SHOWN])) + (", …" if len(classes) > _SHOWN else "")
        unknown = str(values[found.index(None)])[:80]
        raise InputError(f"{path}: expected labels that are classes of the model, {shown}; found {unknown!r}")
    return np.array(found, np.int64)


def _place(value: object, by_text: dict[str, int], by_number: dict[float, int]) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return by_number.get(float(value))
    place = by_text.get(str(value))
    number = _number(str(value)) if place is None else None
    return place if number is None else by_number.get(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
