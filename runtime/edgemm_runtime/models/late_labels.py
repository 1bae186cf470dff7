"""A label as a client tells it, and its comparison with a predicted class. Pure.

{"id": "7", "label": "cat"}
{"id": "8", "row": 3, "label": 0}
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from edgemm.errors import BadRequestError
from edgemm_runtime.http import json_faults


class Label(Struct, frozen=True):
    """The body of `POST /v2/feedback`; `row` is the place of the sample in a batch, from 0."""

    id: str | int
    """As in the request that it is about; a number is the text of its digits."""

    label: str | int
    model: str | None = None
    row: int | None = None


def decode_label(body: bytes) -> Label:
    """Read a request.

    Raises:
        BadRequestError: it is no JSON of that form.
    """
    try:
        return msgspec.json.decode(body, type=Label)
    except json_faults.FAULTS as err:
        found = json_faults.told(err, body)
        raise BadRequestError(
            f'expected JSON such as {{"id": "7", "label": "cat"}}, whose label is the name or index of a class: {found}'
        ) from err


def name_of(index: int, labels: Sequence[str] | None) -> str | int:
    """Return the label of a class, or its index where the bundle has no labels."""
    return labels[index] if labels else index


def says(label: str | int, index: int, labels: Sequence[str] | None) -> bool:
    """Tell whether a label, by its name or index, is the class of this index.

    Raises:
        BadRequestError: it is none of the model's classes.
    """
    if isinstance(label, int):
        if label < 0 or (labels is not None and label >= len(labels)):
            raise BadRequestError(f"label: expected the index of a class, found {label}")
        return label == index
    if labels is None:
        raise BadRequestError(f"label: the bundle names no classes: expected an index, found {label[:40]!r}")
    if label not in labels:
        raise BadRequestError(f"label: expected one of {', '.join(labels)[:200]}, found {label[:40]!r}")
    return label == labels[index]
