"""The columns of an output in a manifest: how far each may be from the golden outputs, and how far it is.

An output may hold values of several units. Its columns are slices of one axis of its shape, the batch included: the
last axis, or the channels where they come first. Columns `start` to `stop` − 1 are judged as one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MAX_COLUMNS = 1024
Axis = Annotated[int, Meta(ge=0, le=7)]
Place = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ColumnTolerance(Struct, frozen=True, kw_only=True):
    """How far some columns of an output may be from the golden outputs, in units of the output."""

    axis: Axis
    start: Place
    stop: Place
    max_abs: Annotated[float, Meta(ge=0)]


class ColumnParity(Struct, frozen=True, kw_only=True):
    """How far some columns of a variant's output are from the source's, over all samples of a parity run.

    Errors and `deviation`, the standard deviation of the source's values there, are in units of the output; `values`
    is how many there are.
    """

    axis: Axis
    start: Place
    stop: Place
    values: int
    max_abs: float
    mean_abs: float
    rms: float
    deviation: float
