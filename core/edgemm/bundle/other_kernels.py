"""The tolerances of golden samples in a manifest for devices whose engine is not the one that was verified.

Other correct kernels (another build, CPU, delegate or version) round otherwise. That moves an answer by little, or by
much where it is a choice: a class, a place in a list of boxes.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from edgemm.bundle.column_figures import MAX_COLUMNS, ColumnTolerance
from edgemm.canonical import DIGEST_PATTERN

Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class KernelTolerance(Struct, frozen=True, kw_only=True):
    """How far one output may be from the golden outputs in each golden sample.

    `min_share` of its values, or of its rows where they are matched, are within `max_abs`: one number for all, or one
    for each place along the last axis, in units of the output. `min_argmax_agreement` and `columns` are those of
    `Tolerance`.
    """

    max_abs: Annotated[tuple[Annotated[float, Meta(ge=0)], ...], Meta(min_length=1, max_length=64)]
    min_share: Share
    min_argmax_agreement: Share | None = None
    columns: Annotated[tuple[ColumnTolerance, ...], Meta(max_length=MAX_COLUMNS)] | UnsetType = UNSET


class VerifiedEngine(Struct, frozen=True, kw_only=True):
    """The build of an engine that answered at conversion.

    `answers` is the SHA-256 of what it answers to a small model of edgemm's own, in which sums of floats are rounded by
    the order that kernels add in; empty where the engine's driver has no such model.
    """

    version: str
    machine: str
    answers: Annotated[str, Meta(pattern=DIGEST_PATTERN)] | None = None


class OtherKernels(Struct, frozen=True, kw_only=True):
    """Tolerances by variant id, then by output, for an engine that is none of `engines` (by id).

    `rows` are, by variant id, groups of outputs that together list things in no certain order, such as the boxes,
    classes and scores of a detector: row i of each belongs to thing i, and rows may change places. An output of which
    nothing is said is held to the ordinary tolerance.
    """

    engines: dict[Name, VerifiedEngine]
    tolerance: dict[Name, dict[Name, KernelTolerance]]
    rows: dict[Name, tuple[tuple[Name, ...], ...]] = {}
