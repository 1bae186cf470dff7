"""Properties of a model in words: `metadata_props` of `.onnx` files, `metadata.json` behind a `.tflite`. Pure.

Values are JSON or, as Ultralytics writes them, Python literals; nothing is evaluated.

| property | is read as |
|---|---|
| `names`, `labels` or `classes` | labels: a list, or a map of index → name |
| `imgsz` | height and width of images, compared with the input's shape |
| `mean`, `std`; `image_mean`, `image_std` | of pixels of 0 to 255 or, where no mean and std is over 1, of 0 to 1 |
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from typing import Any

from edgemm_converter.metadata.carried import MOST_BYTES, MOST_LABELS, Carried, CarriedLabels

_LABELS = ("names", "labels", "classes")
_OPENING = ("[", "{", "(")
_NO_NAME = "???"
"""What a class without a name is called, as in TensorFlow's own label maps."""


def literal(text: str) -> Any:
    """Return what JSON or a Python literal says; the text itself where it is neither."""
    if len(text) > MOST_BYTES:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return text


def carried(found: Mapping[Any, Any], *, found_in: str) -> Carried | None:
    """Return labels and size of images; None where there is neither."""
    unread: list[str] = []
    labels = None
    for key in _LABELS:
        if labels is None and key in found:
            names = _names(found[key])
            if names is None:
                unread.append(f"{key!r} of {found_in}: expected names, at most {MOST_LABELS:,}, by index")
            else:
                labels = CarriedLabels(names=names, found_in=f"{key!r} of {found_in}")
    size = _size(found.get("imgsz"))
    if labels is None and size is None and not unread:
        return None
    return Carried(labels=labels, size=size, unread=tuple(unread))


def normalization(found: Mapping[Any, Any]) -> tuple[float, tuple[float, ...], tuple[float, ...]] | None:
    """Return scale, mean and std of pixels of 0 to 255; None where nothing, or nothing that makes sense, is said."""
    mean, std = (_floats(found.get(key, found.get(f"image_{key}"))) for key in ("mean", "std"))
    if (not mean and not std) or any(number <= 0 for number in std):
        return None
    of_shares = max((*map(abs, mean), *std)) <= 1
    return (1 / 255 if of_shares else 1.0), mean, std


def _names(value: Any) -> tuple[str, ...] | None:
    """Return names by index; a hole is a class without a name."""
    value = literal(value) if isinstance(value, str) else value
    if isinstance(value, str) and value.lstrip()[:1] in _OPENING:
        return None  # a list or a map that is damaged, or an expression: its pieces are no names
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return None
    try:
        by_index = {int(index): str(name).strip() for index, name in value.items()}
    except (TypeError, ValueError):
        return None
    if not 0 <= min(by_index) <= max(by_index) < MOST_LABELS:
        return None
    return tuple(by_index.get(index) or _NO_NAME for index in range(max(by_index) + 1))


def _size(value: Any) -> tuple[int, int] | None:
    value = literal(value) if isinstance(value, str) else value
    sides = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) == 2 and all(isinstance(side, int) and 0 < side <= 2**16 for side in sides):
        return sides[0], sides[1]
    return None


def _floats(value: Any) -> tuple[float, ...]:
    value = literal(value) if isinstance(value, str) else value
    numbers = value if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        return ()
    return tuple(float(n) for n in numbers)
