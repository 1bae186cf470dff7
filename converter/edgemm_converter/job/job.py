"""The job of a conversion: all options, checked before anything heavy starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemm.bundle import open_bundle
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import LabelledOutput, Preprocessing, check_model_name
from edgemm.errors import EnvironmentFailure, InputError
from edgemm.versions import Version
from edgemm_converter.children.protocol import ESTIMATORS, SourceFormat
from edgemm_converter.data import datasets, preprocessing
from edgemm_converter.data import labels as label_file
from edgemm_converter.data.datasets import Dataset
from edgemm_converter.job import file_metadata, naming, targets, variant_plan
from edgemm_converter.job import source_artifact as source
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.job.options import ConversionOptions, check_names, input_shapes
from edgemm_converter.job.variant_plan import VariantPlan
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.metadata.carried import Carried

DEFAULT_MAX_DROP = 0.005
"""Of a share, as the accuracy is; of the mean squared error, a share of the variance of the wanted numbers."""

_FIRST_VERSION = "0.1.0"


@dataclass(frozen=True)
class ParentBundle:
    """The bundle that a conversion follows, and its identity."""

    path: Path
    digest: str


@dataclass(frozen=True)
class ConversionJob:
    """What was asked for, checked."""

    source: Path
    format: str
    """A `SourceFormat`, or an engine's id of a finished file."""

    output: Path
    name: str
    version: str
    plans: tuple[VariantPlan, ...]
    required: tuple[str, ...]
    signature: str | None
    input_shapes: dict[str, tuple[int, ...]]
    columns: dict[str, str]
    calibration: Dataset | None
    evaluation: Dataset | None
    evaluated_output: str | None
    metric: Metric
    max_drop: float | None
    """The drop that is allowed, in the metric's unit; with `search` and None, what `DEFAULT_MAX_DROP` stands for."""

    search: bool
    """Whether the smallest TFLite variant within `max_drop` is searched for."""

    preprocessing: dict[str, Preprocessing]
    carried: Carried | None
    """What a finished file says of itself, of which `settled` says what is taken."""

    labels_of: tuple[LabelledOutput, ...]
    """The outputs that labels are of, once they are known; none where it is scores along the last axis."""

    report: Path | None
    parent: ParentBundle | None
    labels: tuple[str, ...] | None
    custom_objects: tuple[str, ...]
    allow_lambda: bool
    allow_pickle: bool
    licence: str | None
    monitor: MonitorEffort
    """How much is tried to monitor the model, where there are labelled data."""

    stateful: bool
    """Whether a finished file keeps state between inferences, as whoever converts it says."""

    unused: tuple[str, ...]
    """What was asked for that has no effect, a line on each."""

    @property
    def exported_variants(self) -> tuple[str, ...]:
        """Ids of what is exported from the source.

        The float TFLite file, which others are made of, is among it: a search and a report need it, and it tells of
        the units of outputs.
        """
        planned = tuple(p.id for p in self.plans)
        needed = self.search or any(p.engine == Engine.TFLITE for p in self.plans)
        return (variant_plan.FLOATS.id, *planned) if needed and variant_plan.FLOATS.id not in planned else planned


def check(path: Path, options: ConversionOptions) -> ConversionJob:
    """Return what was asked for, after all checks that need nothing heavy.

    Raises:
        InputError: what was given can never work.
        BundleError: `parent` is no whole bundle.
        EnvironmentFailure: the output cannot be written.
        TypeError: there is no option of that name.
    """
    check_names(options)
    kind = source.detect(path)
    _check_pickle(path, kind, options)
    plans = _plans(path, kind, options)
    name, version = _identity(path, options)
    report = _given_path(options.get("report"))
    output = _given_path(options.get("output")) or Path(naming.bundle_file(name, version))
    for file, option in ((output, "--output"), (report, "--report")):
        if file is not None:
            _check_output(file, option)
    _check_report(report, output)
    _check_budget(options)
    _check_stateful(path, kind, options)
    declared = preprocessing.read(file) if (file := _given_path(options.get("preprocess"))) is not None else {}
    carried = file_metadata.read(path, kind) if targets.is_finished(kind) else None
    images = declared or _carried_image(carried)
    labels = _labels(options.get("labels"))
    search = variant_plan.AUTO in options.get("precisions", ())
    max_drop = options.get("max_drop")
    return ConversionJob(
        source=path,
        format=kind,
        output=output,
        name=name,
        version=version,
        plans=plans,
        required=_required(plans, options),
        signature=options.get("signature"),
        input_shapes=input_shapes(options.get("input_shapes") or {}),
        columns=dict(options.get("columns") or {}),
        calibration=_data(
            options.get("calibration"), declared=images, labels=labels, labelled=False, raw=kind in ESTIMATORS
        ),
        evaluation=_data(
            options.get("evaluation"), declared=images, labels=labels, labelled=True, raw=kind in ESTIMATORS
        ),
        evaluated_output=options.get("evaluated_output"),
        metric=_metric(options.get("metric") or Metric.ACCURACY),
        max_drop=max_drop,
        search=search,
        preprocessing=declared,
        carried=carried,
        labels_of=(),
        report=report,
        parent=_parent(options.get("parent"), output),
        labels=labels,
        custom_objects=tuple(options.get("custom_objects", ())),
        allow_lambda=options.get("allow_lambda", False),
        allow_pickle=options.get("allow_pickle", False),
        licence=options.get("licence"),
        monitor=_monitor(options.get("monitor") or MonitorEffort.QUICK),
        stateful=options.get("stateful", False),
        unused=tuple(_unused(kind, options)),
    )


def _check_pickle(path: Path, kind: str, options: ConversionOptions) -> None:
    """Check that a pickle is opened only where that was allowed: opening one runs what code it holds."""
    if kind == SourceFormat.PICKLE and not options.get("allow_pickle"):
        raise InputError(
            f"{path}: a Python pickle (joblib's is one too), which runs code of whoever made it as soon as it is "
            "opened, and was not opened: give --allow-pickle if you trust its maker, or save the model as "
            "skops.io.dump(model, 'model.skops')"
        )


def _carried_image(carried: Carried | None) -> dict[str, Preprocessing]:
    """Return how the file says that its only image is made, under the tensor's name: one input may have any."""
    images = carried.images if carried is not None else ()
    return {images[0].tensor: images[0].steps} if len(images) == 1 else {}


def _plans(path: Path, kind: str, options: ConversionOptions) -> tuple[VariantPlan, ...]:
    """Return the variants to make; none of a finished file, which is one."""
    engines, precisions = options.get("targets", ()), options.get("precisions", ())
    if kind in ESTIMATORS:
        _check_estimators_plan(path, engines, precisions)
        return variant_plan.of_estimators(
            targets=engines, precisions=precisions, calibrated=options.get("calibration") is not None
        )
    if not targets.is_finished(kind):
        return variant_plan.plan(
            targets=engines, precisions=precisions, calibrated=options.get("calibration") is not None
        )
    if engines or precisions:
        raise InputError(
            f"{path}: a finished {kind} file is packaged as it is: leave --target and --precision out, or give the "
            "model that it was made from"
        )
    return ()


def _check_estimators_plan(path: Path, engines: Sequence[str], precisions: Sequence[str]) -> None:
    """Check that no more is asked for than there is: estimators become ONNX and TFLite, and nothing is searched for."""
    other = [name for name in engines if name not in variant_plan.OF_ESTIMATORS]
    if other or variant_plan.AUTO in precisions:
        raise InputError(
            f"{path}: {(*other, f'precision {variant_plan.AUTO}')[0]} was asked for, and estimators become "
            f"{' and '.join(variant_plan.OF_ESTIMATORS)} in precisions that are named: leave --target and --precision "
            "out"
        )


def _identity(path: Path, options: ConversionOptions) -> tuple[str, str]:
    """Return the model's name and version."""
    name = options.get("name")
    model = check_model_name(name) if name is not None else naming.model_name(path)
    return model, Version(options.get("version", _FIRST_VERSION)).text


def _required(plans: tuple[VariantPlan, ...], options: ConversionOptions) -> tuple[str, ...]:
    engines, precisions = options.get("targets", ()), options.get("precisions", ())
    searched = (variant_plan.FLOATS.id,) if variant_plan.AUTO in precisions else ()
    return variant_plan.required(plans, targets=engines, precisions=precisions) + searched


def _labels(given: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    found = label_file.read(Path(given)) if isinstance(given, (str, Path)) else given
    return tuple(found or ()) or None


def _metric(name: str) -> Metric:
    try:
        return Metric(name)
    except ValueError as err:
        raise InputError(f"metric {name!r}: expected one of {', '.join(Metric)}") from err


def _monitor(effort: str) -> MonitorEffort:
    try:
        return MonitorEffort(effort)
    except ValueError as err:
        raise InputError(f"--monitor {effort!r}: expected one of {', '.join(MonitorEffort)}") from err


def _given_path(path: str | Path | None) -> Path | None:
    return Path(path) if path is not None else None


def _data(
    path: str | Path | None,
    *,
    declared: Mapping[str, Preprocessing],
    labels: Sequence[str] | None,
    labelled: bool,
    raw: bool = False,
) -> Dataset | None:
    if path is None:
        return None
    return datasets.read(Path(path), declared=declared, labels=labels, labelled=labelled, raw=raw)


def _check_budget(options: ConversionOptions) -> None:
    max_drop, evaluated = options.get("max_drop"), options.get("evaluation") is not None
    if variant_plan.AUTO in options.get("precisions", ()) and not evaluated:
        raise InputError("precision auto needs --eval: labelled data on which candidates are measured")
    if max_drop is not None and not evaluated:
        raise InputError("--max-drop needs --eval: labelled data on which variants are measured")
    if options.get("evaluated_output") is not None and not evaluated:
        raise InputError("--eval-output needs --eval: labelled data on which that output is measured")
    if max_drop is not None and not max_drop >= 0:
        raise InputError(f"--max-drop {max_drop:g}: expected 0 or more")


def report_data(report: Path) -> Path:
    """Return the file beside a report that has the same as JSON."""
    return report.with_suffix(".json")


def _check_report(report: Path | None, output: Path) -> None:
    """Check that a report, its JSON and the bundle are three files."""
    if report is None:
        return
    files = [output.absolute(), report.absolute(), report_data(report).absolute()]
    if len(set(files)) != len(files):
        raise InputError(f"--report {report}: expected a file of its own such as page.html, with page.json beside it")
    _check_output(report_data(report), "--report")


def _parent(given: str | Path | None, output: Path) -> ParentBundle | None:
    """Return the bundle that is followed, opened and verified once."""
    if given is None:
        return None
    path = Path(given)
    if path.absolute() == output.absolute():
        raise InputError(f"--parent {path}: the bundle would be written over it; give another --output or --version")
    with open_bundle(path) as bundle:
        return ParentBundle(path, bundle.digest)


def _unused(kind: str, options: ConversionOptions) -> Iterator[str]:
    """Say which options have no effect on a source of this kind with the others."""
    if options.get("metric") is not None and options.get("evaluation") is None:
        yield "--metric has no effect without --eval"
    if options.get("allow_pickle") and kind not in (SourceFormat.PICKLE, SourceFormat.PROGRAM):
        yield f"--allow-pickle has no effect: the source is no pickle, but of kind {kind}"
    if options.get("columns") and kind not in ESTIMATORS:
        yield f"--column has no effect: the source is no estimator of a table, but of kind {kind}"
    if kind in ESTIMATORS:
        yield from _unused_by_estimators(options)
    if kind in (SourceFormat.KERAS, SourceFormat.HDF5, SourceFormat.SKOPS, SourceFormat.PICKLE):
        return
    known: dict[str, str] = {
        SourceFormat.SAVED_MODEL: "a SavedModel",
        SourceFormat.XGBOOST: "XGBoost",
        SourceFormat.LIGHTGBM: "LightGBM",
        SourceFormat.PROGRAM: "an exported program",
    }
    what = known.get(kind, f"a finished {kind} file")
    if options.get("custom_objects"):
        yield f"--custom-objects has no effect on {what}, which holds operations and no layers"
    if options.get("allow_lambda") and kind not in ESTIMATORS:
        yield f"--allow-lambda has no effect on {what}, which holds operations and no layers"
    if options.get("signature") is not None and kind in (Engine.ONNX, SourceFormat.PROGRAM):
        yield f"--signature has no effect on {what}, which has no signatures"


def _unused_by_estimators(options: ConversionOptions) -> Iterator[str]:
    """Say which options are of other sources: an estimator has neither layers nor signatures, and its shapes are known.

    Others are refused, since what was asked for would not be there: engines and precisions, state.
    """
    for name, option in (
        ("signature", "--signature"), ("allow_lambda", "--allow-lambda"), ("input_shapes", "--input-shape"),
    ):  # fmt: skip
        if options.get(name):
            yield f"{option} has no effect on an estimator, which has neither signatures nor layers nor open shapes"


def _check_stateful(path: Path, kind: str, options: ConversionOptions) -> None:
    """Check what is said of a model with state: its inputs are one sequence, and no separate samples."""
    if not options.get("stateful"):
        return
    if not targets.is_finished(kind):
        raise InputError(
            f"{path}: --stateful is for finished files that keep state; of a {kind} model, states of recurrent layers "
            "become inputs and outputs: leave it out"
        )
    for option, data in (("--calibration", options.get("calibration")), ("--eval", options.get("evaluation"))):
        if data is not None:
            raise InputError(
                f"{path}: {option} has samples that are independent of one another, which a stateful model's are not: "
                "leave it out"
            )


def _check_output(path: Path, option: str) -> None:
    """Find out before minutes of work whether the bundle can be written."""
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a file to write, found a folder")
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "is not writable" if folder.is_dir() else "does not exist"
        raise EnvironmentFailure(f"cannot write {path}: the folder {folder} {why}; give another {option}")
