"""The parent's side of monitoring: asks a child process for the document, or says why a bundle has none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm.bundle.manifest import Signature
from edgemm.errors import ConversionError, EdgemmError, EnvironmentFailure, InputError
from edgemm.monitoring import MonitorDocument, monitor_document
from edgemm_converter.children import array_files
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import MonitorAnswer, MonitorRequest
from edgemm_converter.data.arrays import Array
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.judging import assembly
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.verify.parent import EngineRun

_WORKER = "edgemm_converter.monitoring.child"
_CLASSES = "monitored-classes.npy"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_MOST_OTHER = 0.01
"""In so many rows may a model's own class be another than that of the largest score."""

_OF_CLASSES = (Metric.ACCURACY, Metric.F1, Metric.PRECISION, Metric.RECALL)


@dataclass(frozen=True)
class MonitoredRun:
    """A conversion so far: its signature, its variants, and what was asked of the labelled data, where there are."""

    signature: Signature
    ran: EngineRun
    asked: MetricQuestion | None
    data: Measured | None


@dataclass(frozen=True)
class MonitorMade:
    """The document's bytes, or None; `reason` says why there is none, or why it shows no accuracy."""

    document: bytes | None
    reason: str = ""
    repeatable: bool = True
    """Whether it would come out the same again: not where a child went over a limit, or crashed."""


def made(
    given: ConversionJob,
    run: MonitoredRun,
    folder: Path,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> MonitorMade | None:
    """Return the document of a conversion; None where nobody asked for one, or there are no labelled data.

    A model that cannot be monitored is no failure of its conversion.

    Raises:
        EnvironmentFailure: the temporary folder is full.
    """
    data, asked = run.data, run.asked
    if given.monitor is MonitorEffort.OFF or data is None or asked is None:
        return None
    if asked.metric not in _OF_CLASSES:
        return None  # what has no classes has no accuracy
    if given.stateful:
        return MonitorMade(None, "its answers depend on the requests before")
    try:
        each = assembly.by_sample(data)
        inputs, output = _rows(run.signature, each.inputs), monitored_output(asked, each.source)
        request = _request(given, run, asked.truth, inputs, folder, output=output)
        answer = run_child(
            _WORKER,
            request,
            answer=MonitorAnswer,
            folder=folder,
            limits=limits,
            progress=progress,
            variables=_ONE_THREAD,
        )
    except EnvironmentFailure:
        raise
    except EdgemmError as err:
        return MonitorMade(None, str(err), repeatable=not isinstance(err, ConversionError))
    return MonitorMade((folder / answer.file).read_bytes() if answer.file else None, answer.reason)


def told(found: MonitorMade) -> tuple[str, ...]:
    """Return what to say of it, in words."""
    document = document_of(found)
    if document is None:
        return (f"monitoring without labels: left out: {found.reason}",)
    if not document.supported:
        return (f"monitoring without labels: no accuracy will be shown: {found.reason}",)
    trial = document.trial
    said = (
        f"monitoring without labels: the estimated accuracy is off by {trial.mean_error:.3f} on average on corruptions "
        f"that it had not seen ({len(trial.families)} families, {trial.windows:,} windows), by more than "
        f"{trial.worst_5_percent:.2f} in 5 %"
    )
    return (said,)


def document_of(found: MonitorMade) -> MonitorDocument | None:
    """Return the document that was made, if one was."""
    return monitor_document.decode(found.document) if found.document is not None else None


def _request(
    given: ConversionJob,
    run: MonitoredRun,
    truth: Array,
    inputs: dict[str, Array],
    folder: Path,
    *,
    output: str,
) -> MonitorRequest:
    variant = run.ran.variants[0]
    np.save(folder / _CLASSES, truth.astype(np.int64))
    return MonitorRequest(
        signature=run.signature,
        variant=variant,
        file=str(run.ran.files[variant.id].relative_to(folder)),
        inputs=array_files.save(inputs, folder, prefix="monitored"),
        classes=_CLASSES,
        output=output,
        effort=str(given.monitor),
        preprocessing=given.preprocessing,
    )


def monitored_output(asked: MetricQuestion, outputs: assembly.Outputs) -> str:
    """Return the output that is monitored: of a model with class indices, the scores [samples, 1, classes] beside them.

    Raises:
        InputError: there are none, or the classes do not follow from them.
    """
    if not asked.classes:
        return asked.output
    found = [name for name, a in outputs.items() if a.dtype.kind == "f" and a.shape[1:] == (1, asked.classes)]
    if not found and asked.classes == 2:
        return asked.output  # each answer is a probability of 0 or 1
    if not found:
        raise InputError(f"output {asked.output!r} is of class indices, without an output of scores beside it")
    answered = outputs[asked.output].reshape(-1)
    others = {name: float((_largest(outputs[name], asked.classes) != answered).mean()) for name in found}
    name, other = min(others.items(), key=lambda one: one[1])
    if other > _MOST_OTHER:
        raise InputError(
            f"in {other:.1%} of the labelled rows, {asked.output!r} is not the class of the largest of {name!r}, "
            f"by which accuracy is estimated: expected at most {_MOST_OTHER:.0%}"
        )
    return name


def _largest(scores: Array, classes: int) -> Array:
    """Return the class with the highest score of each row."""
    return np.asarray(scores.reshape(-1, classes).argmax(axis=1))


def _rows(signature: Signature, by_sample: assembly.Outputs) -> dict[str, Array]:
    """Return inputs [rows, …] of samples [samples, 1, …].

    Raises:
        InputError: a sample is no row.
    """
    for spec in signature.inputs:
        if not spec.shape or by_sample[spec.name].shape[1] != 1:
            raise InputError(f"input {spec.name!r} has no axis of rows")
    return {name: array[:, 0] for name, array in by_sample.items()}
