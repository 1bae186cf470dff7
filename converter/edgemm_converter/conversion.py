"""A conversion from end to end: checks, export, verification in the device's engines, and the bundle.

    result = convert("digits.keras", calibration="digits-samples.npz")
    print(result.path, result.digest)

The bundle appears only if every variant computes the same as the source; otherwise nothing is left behind.
TensorFlow and the engines run in child processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

from edgemm import durable
from edgemm.bundle.manifest import Manifest
from edgemm.errors import EnvironmentFailure, ParityError
from edgemm_converter.cache import fingerprint
from edgemm_converter.cache.cache import Cache, CachedConversion, ConversionOutcome
from edgemm_converter.children.child import ChildLimits, Progress, cannot_work_in
from edgemm_converter.children.protocol import Exported, SetKind, TrialFacts
from edgemm_converter.drafting import draft as drafting
from edgemm_converter.drafting import predecessor
from edgemm_converter.drafting.draft import Draft
from edgemm_converter.export import parent as exporting
from edgemm_converter.job import installed_packages, job
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.job.options import ConversionOptions
from edgemm_converter.judging import assembly
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.monitoring import parent as monitoring
from edgemm_converter.monitoring.parent import MonitoredRun
from edgemm_converter.parting import parent as parting
from edgemm_converter.report import class_answers, report_page
from edgemm_converter.report import parent as reporting
from edgemm_converter.report.facts import Facts
from edgemm_converter.search import parent as searching
from edgemm_converter.tails import parent as tails
from edgemm_converter.tails.parent import TailedRun
from edgemm_converter.verify import parent as running
from edgemm_converter.verify.parent import EngineRun


@dataclass(frozen=True)
class ConversionResult:
    """A bundle that was written."""

    path: Path
    manifest: Manifest
    digest: str
    """The bundle's identity."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    """Variants that nobody asked for by name and that could not be made, with the reason."""

    warnings: tuple[str, ...] = ()
    """What to know before trusting the figures."""

    trials: tuple[TrialFacts, ...] = ()
    """What the search for a precision evaluated, in order."""

    from_file: tuple[str, ...] = ()
    """What was taken of what a finished file says of itself, and what labels are of, a line on each."""

    monitored: tuple[str, ...] = ()
    """How well the accuracy will be known in the field without labels, a line on each."""

    repeated: bool = False
    """Whether the bundle is that of an earlier conversion of the same, out of the cache."""


def convert(
    source: str | Path,
    *,
    limits: ChildLimits | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **options: Unpack[ConversionOptions],
) -> ConversionResult:
    """Turn a trained model into a verified bundle.

    Args:
        source: A `.keras` or `.h5` file of Keras 2 or 3, the folder of a SavedModel, an estimator (a skops, joblib or
            pickle file, or one of XGBoost or LightGBM), an exported program of PyTorch, or a finished `.tflite` or
            `.onnx` file, which is verified and packaged as it is.
        limits: What each child process may take.
        progress: Called with the name of each stage as it begins.
        cache: Take the bundle of an earlier conversion of the same, and keep this one's: see `cache.Cache`.
        options: Those of `ConversionOptions`, where each is described.

    Raises:
        InputError: what was given can never work.
        MissingExtraError: the converter's libraries are not installed.
        ConversionError: the model cannot be converted, or was, and computes something else (ParityError), or is worse
            than `max_drop` allows (AccuracyError).
        EnvironmentFailure: the disk is full or the output not writable.
        TypeError: there is no option of that name.
    """
    given = job.check(Path(source), options)
    installed_packages.require_for(given.format, given.required)
    announce = progress or _silent
    kept = Cache.of_environment() if cache else None
    key = fingerprint.of(given) if kept is not None else None
    if kept is not None and key is not None and (known := kept.get(key)) is not None:
        announce("found among earlier conversions")
        return _finished(given, known, progress=announce, repeated=True)
    with _temporary_folder() as folder:
        entry = _convert(given, folder, limits=limits or ChildLimits(), progress=announce)
    result = _finished(given, entry, progress=announce, repeated=False)
    if kept is not None and key is not None and entry.repeatable and fingerprint.of(given) == key:
        kept.put(key, entry)  # nothing was changed meanwhile
    return result


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgemm-convert-")
    except OSError as err:
        raise EnvironmentFailure(f"cannot make a temporary folder: {err.strerror or err}; set TMPDIR to one") from err
    with folder as name:
        try:
            yield Path(name)
        except OSError as err:
            raise EnvironmentFailure(cannot_work_in(name, err)) from err


def _convert(given: ConversionJob, folder: Path, *, limits: ChildLimits, progress: Progress) -> CachedConversion:
    everything = exporting.export(given, folder, limits=limits, progress=progress)
    given = exporting.settled(given, everything, folder)
    chosen = given.max_drop is not None
    given = searching.with_budget(given, everything, folder)
    found = searching.search(given, everything, folder, limits=limits, progress=progress) if given.search else None
    if found is not None:
        everything = searching.with_found(everything, found)
    exported = searching.wanted(given, everything, found)
    ran = running.run(given, exported, folder, limits=limits, progress=progress)
    progress("comparing with the source model")
    try:
        tailed = tails.tailed(given, everything, ran, folder, limits=limits, progress=progress)
        searched = found.variant.id if found is not None else ""
        draft, tailed = _drafted(
            given, everything, exported, tailed, folder, searched=searched, limits=limits, progress=progress
        )
    except ParityError as err:
        others = "".join(f"; {variant} was left out: {reason}" for variant, reason in exported.left_out.items())
        raise ParityError(f"{err}{others}") from err
    draft = drafting.with_other_kernels(draft, running.self_test(draft.path, folder, limits=limits, progress=progress))
    labelled = next((m for m in ran.measured if m.set.kind is SetKind.EVALUATION), None)
    so_far = MonitoredRun(exported.signature, tailed.ran, drafting.asked(given, labelled), labelled)
    monitor = monitoring.made(given, so_far, folder, limits=limits, progress=progress)
    draft = drafting.with_monitor(draft, monitor.document if monitor is not None else None)
    outcome = ConversionOutcome(
        digest=draft.digest,
        left_out={
            **exported.left_out,
            **ran.left_out,
            **parting.with_layers(tailed.left_out, everything, folder, limits=limits, progress=progress),
        },
        warnings=(
            *given.unused,
            *_budget(given, chosen=chosen),
            *everything.notes,
            *ran.notes,
            *tailed.warnings,
            *drafting.warnings(given, draft.manifest, tailed.ran),
        ),
        trials=found.trials if found else (),
        from_file=(*everything.settled.lines, *drafting.labelled(given)),
        monitored=monitoring.told(monitor) if monitor is not None else (),
    )
    page = data = None
    if given.report is not None:
        facts = replace(
            _report_facts(given, draft, outcome, everything, ran, limits=limits, progress=progress),
            monitor=monitoring.document_of(monitor) if monitor is not None else None,
            unmonitored=monitor.reason if monitor is not None else "",
        )
        page, data = report_page.page(facts).encode(), report_page.data(facts)
    repeatable = monitor is None or monitor.repeatable
    return CachedConversion(outcome, draft.manifest, draft.path.read_bytes(), page, data, repeatable)


def _budget(given: ConversionJob, *, chosen: bool) -> tuple[str, ...]:
    """Say what `auto` allowed, where nobody said it and it is no share."""
    if chosen or given.max_drop is None or not given.metric.is_error:
        return ()
    whole, unit = ("variance", "the square of their unit")
    if given.metric is Metric.MAE:
        whole, unit = ("standard deviation", "their unit")
    said = (
        f"--precision auto allowed a drop of {given.max_drop:.3g} in {given.metric}, {job.DEFAULT_MAX_DROP:.1%} of the "
        f"{whole} of the wanted numbers: --max-drop sets another, in {unit}"
    )
    return (said,)


def _drafted(
    given: ConversionJob,
    everything: Exported,
    exported: Exported,
    tailed: TailedRun,
    folder: Path,
    *,
    searched: str,
    limits: ChildLimits,
    progress: Progress,
) -> tuple[Draft, TailedRun]:
    """Draft a bundle of the variants that compute what the source does; quantized ones may be left out."""
    while True:
        try:
            return drafting.draft(given, exported, tailed.ran, folder), tailed
        except ParityError as err:
            where = parting.where(err, given, everything, folder, limits=limits, progress=progress)
            tailed = tails.without(tailed, err, given, where=where, searched=searched)


def _finished(given: ConversionJob, entry: CachedConversion, *, progress: Progress, repeated: bool) -> ConversionResult:
    """Write what was asked for, the bundle last."""
    with ExitStack() as unfinished:
        if given.report is not None and entry.report is not None and entry.report_data is not None:
            for file, content in ((given.report, entry.report), (job.report_data(given.report), entry.report_data)):
                unfinished.callback(file.unlink, missing_ok=True)  # no report of a bundle that there is not
                durable.write(file, content)
        progress(f"writing {given.output}")
        durable.write(given.output, entry.bundle)
        unfinished.pop_all()
    outcome = entry.outcome
    return ConversionResult(
        path=given.output,
        manifest=entry.manifest,
        digest=outcome.digest,
        left_out=outcome.left_out,
        warnings=outcome.warnings,
        trials=outcome.trials,
        from_file=outcome.from_file,
        monitored=outcome.monitored,
        repeated=repeated,
    )


def _report_facts(
    given: ConversionJob,
    draft: Draft,
    outcome: ConversionOutcome,
    exported: Exported,
    ran: EngineRun,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> Facts:
    folder = draft.path.parent
    data = next((m for m in ran.measured if m.set.kind is SetKind.EVALUATION), None)
    asked = drafting.asked(given, data)
    answers = assembly.by_sample(data) if data is not None else None
    return Facts(
        manifest=draft.manifest,
        digest=draft.digest,
        max_drop=given.max_drop,
        warnings=outcome.warnings,
        left_out=outcome.left_out,
        trials=outcome.trials,
        noise=reporting.noise(exported),
        layers=reporting.layers(exported, folder, limits=limits, progress=progress),
        speeds=reporting.speeds(draft.path, draft.manifest, limits=limits, progress=progress),
        classes=class_answers.of(asked, {class_answers.SOURCE: answers.source, **answers.variants}) if answers else (),
        predecessor=predecessor.measured(
            given.parent.path, exported.signature, data, asked, folder, limits=limits, progress=progress
        )
        if given.parent is not None
        else None,
        machine=reporting.machine(),
    )


def _silent(_stage: str) -> None:
    pass
