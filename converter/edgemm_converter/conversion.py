"""A conversion from end to end: check what was given, export, verify in the device's engines, write the bundle.

    result = convert("digits.keras", calibration="digits-samples.npz")
    print(result.path, result.digest)

The bundle appears only when every variant was found to compute what the source does; nothing is left otherwise.
TensorFlow and the engines run in child processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from edgemm import durable
from edgemm.errors import EnvironmentFailure
from edgemm.manifest import Manifest
from edgemm_converter import drafting, exporting, extras, job, reporting, running, searching
from edgemm_converter.child import ChildLimits, Progress
from edgemm_converter.job import Job
from edgemm_converter.options import ConversionOptions
from edgemm_converter.protocol import Exported, TrialFacts
from edgemm_converter.report import Facts


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


def convert(
    source: str | Path,
    *,
    limits: ChildLimits | None = None,
    progress: Progress | None = None,
    **options: Unpack[ConversionOptions],
) -> ConversionResult:
    """Turn a trained Keras model into a verified bundle.

    Args:
        source: A `.keras` or `.h5` file of Keras 2 or 3, the folder of a SavedModel, or a finished `.tflite` or
            `.onnx` file, which is verified and packaged as it is.
        limits: What each child process may take.
        progress: Called with the name of each stage as it begins.
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
    extras.require()
    with _temporary_folder() as folder:
        return _convert(given, folder, limits=limits or ChildLimits(), progress=progress or _silent)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgemm-convert-")
    except OSError as err:
        raise EnvironmentFailure(f"cannot make a temporary folder: {err.strerror or err}; set TMPDIR to one") from err
    with folder as name:
        yield Path(name)


def _convert(given: Job, folder: Path, *, limits: ChildLimits, progress: Progress) -> ConversionResult:
    everything = exporting.export(given, folder, limits=limits, progress=progress)
    found = searching.search(given, everything, folder, limits=limits, progress=progress) if given.search else None
    if found is not None:
        everything = searching.with_found(everything, found)
    exported = searching.wanted(given, everything, found)
    ran = running.run(given, exported, folder, limits=limits, progress=progress)
    progress("comparing with the source model")
    draft = drafting.draft(given, exported, ran, folder)
    running.self_test(draft.path, folder, limits=limits, progress=progress)
    result = ConversionResult(
        path=given.output,
        manifest=draft.manifest,
        digest=draft.digest,
        left_out={**exported.left_out, **ran.left_out},
        warnings=drafting.warnings(given, draft.manifest, ran),
        trials=found.trials if found else (),
    )
    if given.report is not None:
        facts = _report_facts(given, result, everything, draft.path, limits=limits, progress=progress)
        reporting.write(given.report, facts)
    progress(f"writing {given.output}")
    durable.write(given.output, draft.path.read_bytes())
    return result


def _report_facts(
    given: Job, result: ConversionResult, exported: Exported, draft: Path, *, limits: ChildLimits, progress: Progress
) -> Facts:
    return Facts(
        manifest=result.manifest,
        digest=result.digest,
        max_drop=given.max_drop,
        warnings=result.warnings,
        left_out=result.left_out,
        trials=result.trials,
        layers=reporting.layers(exported, draft.parent, limits=limits, progress=progress),
        speeds=reporting.speeds(draft, result.manifest, limits=limits, progress=progress),
        machine=reporting.machine(),
    )


def _silent(_stage: str) -> None:
    pass
