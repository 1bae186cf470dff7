"""Outputs of finished files whose length depends on the data: which samples are answered in which shapes.

Arrays are stacked by run, so that each sample set has to be answered in one shape. A set whose runs are not is parted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from edgemm.bundle.manifest import Signature
from edgemm.errors import InputError
from edgemm_converter.children import array_files
from edgemm_converter.children.edge_runs import Run
from edgemm_converter.children.protocol import SetKind
from edgemm_converter.children.samples import InputSet
from edgemm_converter.judging import batch_axis

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each output of one run, by name."""


@dataclass(frozen=True)
class SamplesByShape:
    """Sample sets each of which is answered in one shape, and the shapes of the golden samples."""

    sets: Sequence[InputSet]
    golden: Shapes


def check(varying: Mapping[str, str], signature: Signature, *, stateful: bool) -> None:
    """Check that only the data decide the lengths of `varying` outputs, given with the operations they come from.

    An answer without any entry is right there, and a failure of the engine where lengths of inputs are open.

    Raises:
        InputError: the lengths of inputs do too, or the runs are a sequence, of which none can be left out.
    """
    if stateful or batch_axis.open_inside(signature):
        name, operation = next(iter(varying.items()))
        raise array_files.depends_on_data(name, f"it comes from {operation}", advice=batch_axis.open_lengths(signature))


def parted(run: Run, sets: Sequence[InputSet]) -> SamplesByShape:
    """Part sets by the shapes of what `run` answers; sets of one kind begin with what most of their runs are.

    Where any run is answered with values in all outputs, the first are such: there would be nothing to compare in
    others. Edge inputs stay together: those of other shapes than the golden samples' are for the caller to leave out.

    Raises:
        InputError: labelled samples are answered in several shapes, or no sample with any value.
        EngineError: the file does not run.
    """
    found: list[tuple[InputSet, Shapes]] = []
    for given in sets:
        if given.kind is not SetKind.EDGE:
            found.extend(_parts(run, given))
    calibrated = next((shapes for given, shapes in found if given.kind is SetKind.CALIBRATION), found[0][1])
    if empty := [name for name, shape in calibrated.items() if 0 in shape]:
        raise InputError(
            f"output {empty[0]!r} is empty for every sample, so that no device could verify the model: give "
            "--calibration with inputs of which it finds something"
        )
    return SamplesByShape([*(one for one, _ in found), *(one for one in sets if one.kind is SetKind.EDGE)], calibrated)


def of_requests(signature: Signature) -> Signature:
    """Return a signature by which no requests are joined, since no rows of an answer are those of one of them."""
    joined = any(map(batch_axis.has_open_batch, signature.inputs))
    return msgspec.structs.replace(signature, row_by_row=not joined)


def _parts(run: Run, given: InputSet) -> Iterator[tuple[InputSet, Shapes]]:
    groups: dict[tuple[tuple[str, tuple[int, ...]], ...], list[int]] = {}
    for i, inputs in enumerate(array_files.each_run(given.arrays)):
        shapes = {name: array.shape for name, array in run(inputs).items()}
        groups.setdefault(tuple(shapes.items()), []).append(i)
    if len(groups) > 1 and given.kind is SetKind.EVALUATION:
        one, other = map(dict, list(groups)[:2])
        name = next(name for name in one if one[name] != other[name])
        raise InputError(
            f"--eval: output {name!r} has shape {list(one[name])} for one sample and {list(other[name])} for another, "
            "and a metric is of outputs that are alike: leave --eval out"
        )
    order = sorted(groups.items(), key=lambda item: (any(0 in shape for _, shape in item[0]), -len(item[1])))
    for number, (found, runs) in enumerate(order):
        yield (given if len(order) == 1 else _some(given, runs, number=number)), dict(found)


def _some(given: InputSet, runs: Sequence[int], *, number: int) -> InputSet:
    """Return some runs of a set; what fills up the last run of a fixed batch is no sample."""
    each = -(-given.samples // given.runs)
    filling = each * given.runs - given.samples if given.runs - 1 in runs else 0
    return replace(
        given, id=f"{given.id}-{number}", arrays={name: array[list(runs)] for name, array in given.arrays.items()},
        runs=len(runs), samples=each * len(runs) - filling,
    )  # fmt: skip
