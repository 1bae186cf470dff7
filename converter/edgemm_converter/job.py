"""What a conversion was asked for, checked before anything heavy starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemm.errors import EnvironmentFailure, InputError
from edgemm.manifest import Engine, Preprocessing, check_model_name
from edgemm.versions import Version
from edgemm_converter import datasets, naming, plan, preprocessing, source
from edgemm_converter import labels as label_file
from edgemm_converter.datasets import Dataset
from edgemm_converter.metrics import Metric
from edgemm_converter.plan import VariantPlan
from edgemm_converter.protocol import FINISHED, SourceFormat

DEFAULT_MAX_DROP = 0.005


@dataclass(frozen=True)
class Job:
    """What was asked for, checked."""

    source: Path
    format: SourceFormat
    output: Path
    name: str
    version: str
    plans: tuple[VariantPlan, ...]
    required: tuple[str, ...]
    signature: str | None
    input_shapes: dict[str, tuple[int, ...]]
    calibration: Dataset | None
    evaluation: Dataset | None
    evaluated_output: str | None
    metric: Metric
    max_drop: float | None
    search: bool
    """Whether the smallest TFLite variant within `max_drop` is searched for."""

    preprocessing: dict[str, Preprocessing]
    report: Path | None
    labels: tuple[str, ...] | None
    custom_objects: tuple[str, ...]
    allow_lambda: bool
    licence: str | None

    @property
    def exported_variants(self) -> tuple[str, ...]:
        """Ids of what is exported from the source; a search and a report need the float TFLite file too."""
        planned = tuple(p.id for p in self.plans)
        compared = self.report is not None and any(p.engine is Engine.TFLITE for p in self.plans)
        needed = (self.search or compared) and plan.FLOATS.id not in planned
        return (plan.FLOATS.id, *planned) if needed else planned


def check(
    path: Path,
    *,
    output: str | Path | None,
    name: str | None,
    version: str,
    targets: Sequence[str],
    precisions: Sequence[str],
    calibration: str | Path | None,
    labels: str | Path | Sequence[str] | None,
    custom_objects: Sequence[str],
    allow_lambda: bool,
    signature: str | None,
    input_shapes: Mapping[str, Sequence[int]] | None,
    evaluation: str | Path | None,
    evaluated_output: str | None,
    metric: str,
    max_drop: float | None,
    preprocess: str | Path | None,
    report: str | Path | None,
    licence: str | None,
) -> Job:
    """Return what was asked for, after all checks that need nothing heavy.

    Raises:
        InputError: what was given can never work.
        EnvironmentFailure: the output cannot be written.
    """
    kind = source.detect(path)
    plans: tuple[VariantPlan, ...] = ()
    if kind not in FINISHED:
        plans = plan.plan(targets=targets, precisions=precisions, calibrated=calibration is not None)
    elif targets or precisions or input_shapes:
        raise InputError(
            f"{path}: a finished {kind} file is packaged as it is: leave --target, --precision and --input-shape out, "
            "or give the model that it was made from"
        )
    model = check_model_name(name) if name is not None else naming.model_name(path)
    target = Path(output) if output is not None else Path(naming.bundle_file(model, Version(version).text))
    _check_output(target)
    if report is not None:
        _check_output(Path(report))
    search = plan.AUTO in precisions
    _check_budget(search=search, max_drop=max_drop, evaluated=evaluation is not None)
    names = tuple(label_file.read(Path(labels)) if isinstance(labels, (str, Path)) else labels or ()) or None
    declared = preprocessing.read(Path(preprocess)) if preprocess is not None else {}
    return Job(
        source=path,
        format=kind,
        output=target,
        name=model,
        version=Version(version).text,
        plans=plans,
        required=plan.required(plans, targets=targets, precisions=precisions) + ((plan.FLOATS.id,) if search else ()),
        signature=signature,
        input_shapes={name: tuple(shape) for name, shape in (input_shapes or {}).items()},
        calibration=_data(calibration, declared=declared, labels=names, labelled=False),
        evaluation=_data(evaluation, declared=declared, labels=names, labelled=True),
        evaluated_output=evaluated_output,
        metric=Metric(metric),
        max_drop=DEFAULT_MAX_DROP if search and max_drop is None else max_drop,
        search=search,
        preprocessing=declared,
        report=Path(report) if report is not None else None,
        labels=names,
        custom_objects=tuple(custom_objects),
        allow_lambda=allow_lambda,
        licence=licence,
    )


def _data(
    path: str | Path | None, *, declared: Mapping[str, Preprocessing], labels: Sequence[str] | None, labelled: bool
) -> Dataset | None:
    if path is None:
        return None
    return datasets.read(Path(path), declared=declared, labels=labels, labelled=labelled)


def _check_budget(*, search: bool, max_drop: float | None, evaluated: bool) -> None:
    if search and not evaluated:
        raise InputError("precision auto needs --eval: labelled data on which candidates are measured")
    if max_drop is not None and not evaluated:
        raise InputError("--max-drop needs --eval: labelled data on which variants are measured")
    if max_drop is not None and max_drop < 0:
        raise InputError(f"--max-drop {max_drop:g}: expected 0 or more")


def _check_output(path: Path) -> None:
    """Find out before minutes of work whether the bundle can be written."""
    if path.is_dir():
        raise InputError(f"output {path}: expected a file to write, found a folder")
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise EnvironmentFailure(f"cannot write {path}: the folder {folder} {why}; give another --output")
