"""The parent's side of an export: has a child process load, run and convert the source model.

The answer holds the signature, the source's outputs on all samples, and one file per variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgemm.bundle.manifest import LabelKind, LabelledOutput
from edgemm.errors import InputError
from edgemm_converter.children import array_files
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import ESTIMATORS, Exported, ExportRequest, StagedData
from edgemm_converter.data import class_values, labels
from edgemm_converter.data.arrays import Array
from edgemm_converter.data.datasets import Dataset
from edgemm_converter.job.job import ConversionJob

_WORKER = "edgemm_converter.export.child"


def export(given: ConversionJob, folder: Path, *, limits: ChildLimits, progress: Progress) -> Exported:
    """Have the source loaded, run and converted; the files are in `folder`.

    Raises:
        InputError: the source cannot be opened, or data do not fit it.
        ConversionError: no variant can be made of it.
    """
    asked = request(given, folder)
    return run_child(_WORKER, asked, answer=Exported, folder=folder, limits=limits, progress=progress)


def settled(given: ConversionJob, exported: Exported, folder: Path) -> ConversionJob:
    """Return the job with what the source itself brought along, and with the outputs that labels are of.

    Raises:
        InputError: labels are of no output.
    """
    brought = exported.settled
    names = given.labels or brought.labels
    given = replace(given, labels=names, preprocessing={**brought.preprocessing, **given.preprocessing})
    if names is None:
        return given
    if given.format in ESTIMATORS and brought.labels is not None:
        given = replace(given, evaluation=_with_places(given.evaluation, brought.labels, given.labels))
        if len(exported.signature.outputs) == 1:  # a classifier without scores tells the place alone
            if len(names) != len(brought.labels):
                raise InputError(f"--labels: expected {len(brought.labels)}, one for each class, found {len(names)}")
            label = LabelledOutput(output=exported.signature.outputs[0].name, kind=LabelKind.INDICES)
            return replace(given, labels_of=(label,))

    def answers() -> Iterator[dict[str, Array]]:
        return (array_files.load(one.outputs, folder) for one in exported.sets)

    carried = given.carried.labels if given.carried is not None and brought.labels is not None else None
    of = labels.applied(
        names, exported.signature, answers, indices=brought.indices,
        whose=carried.found_in if carried is not None else "--labels",
    )  # fmt: skip
    return replace(given, labels_of=of)


def _with_places(data: Dataset | None, classes: Sequence[str], names: Sequence[str] | None) -> Dataset | None:
    if data is None or data.labels is None:
        return data
    return replace(data, labels=class_values.places(data.labels, classes, names=names, path=str(data.path)))


def request(given: ConversionJob, folder: Path) -> ExportRequest:
    """Return what the child that opens the source is asked; the user's data are put into `folder`."""
    return ExportRequest(
        source=str(given.source.resolve()),
        format=given.format,
        variants=given.exported_variants,
        calibration=_staged(given.calibration, folder / "calibration.npz"),
        evaluation=_staged(given.evaluation, folder / "evaluation.npz"),
        preprocessing=given.preprocessing,
        custom_objects=given.custom_objects,
        allow_lambda=given.allow_lambda,
        allow_pickle=given.allow_pickle,
        signature=given.signature,
        input_shapes=given.input_shapes,
        columns=given.columns,
        carried=given.carried,
        has_labels=given.labels is not None,
        required=given.required,
        stateful=given.stateful,
    )


def _staged(data: Dataset | None, file: Path) -> StagedData | None:
    if data is None:
        return None
    data.save(file)
    return StagedData(file=str(file), shown=str(data.path))
