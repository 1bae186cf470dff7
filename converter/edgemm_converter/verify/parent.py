"""The parent's side of a run in the device's engines: variants answer the samples that the source answered.

A child process runs the engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from edgemm import canonical, figures
from edgemm.bundle.manifest import Precision, Signature, Variant
from edgemm.bundle.other_kernels import OtherKernels
from edgemm.errors import ConversionError, SelfTestError
from edgemm_converter.children import array_files
from edgemm_converter.children.child import ChildLimits, Progress, all_refused, run_child
from edgemm_converter.children.protocol import (
    Exported,
    Ran,
    RunRequest,
    SampleSet,
    SelfTestPassed,
    SelfTestRequest,
    SetKind,
)
from edgemm_converter.data.arrays import Array
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging.assembly import Measured

_WORKER = "edgemm_converter.verify.child"


@dataclass(frozen=True)
class EngineRun:
    """The variants that an engine runs, with their files, and all sample sets as they were measured."""

    variants: tuple[Variant, ...]
    files: Mapping[str, Path]
    measured: tuple[Measured, ...]
    left_out: Mapping[str, str]
    """Variants that no engine runs and that nobody asked for by name, with the reason."""

    floats: Mapping[str, tuple[str, ...]]
    """Of each integer variant, the operations that stay float."""

    notes: tuple[str, ...] = ()
    """What to know of answers that were not judged."""


def run(
    given: ConversionJob, exported: Exported, folder: Path, *, limits: ChildLimits, progress: Progress
) -> EngineRun:
    """Run each exported variant on each sample set.

    Raises:
        ConversionError: an engine cannot run a variant that was asked for by name, or any.
    """
    variants = _variants(exported, folder)
    files = {e.id: e.file for e in exported.variants}
    request = RunRequest(
        signature=exported.signature, variants=variants, files=files, sets=exported.sets, required=given.required,
        stateful=given.stateful, layers={e.id: e.layers for e in exported.variants if e.layers},
    )  # fmt: skip
    try:
        ran = run_child(_WORKER, request, answer=Ran, folder=folder, limits=limits, progress=progress)
    except ConversionError as err:
        raise all_refused([*exported.left_out.values(), str(err)]) from err
    measured, notes = _without_ties(_measured(exported, ran, folder), folder)
    return EngineRun(
        variants=tuple(v for v in variants if v.id in ran.outputs),
        files={v: folder / files[v] for v in ran.outputs},
        measured=measured,
        left_out=ran.left_out,
        floats=ran.floats,
        notes=notes,
    )


def answers(
    signature: Signature,
    variants: tuple[Variant, ...],
    files: dict[str, str],
    given: SampleSet,
    folder: Path,
    *,
    limits: ChildLimits,
    progress: Progress,
) -> dict[str, dict[str, Array]]:
    """Return what the variants of another bundle, with files in `folder` by id, answer to one sample set.

    Variants that no engine here runs are left out.

    Raises:
        ConversionError: no engine runs any.
    """
    request = RunRequest(signature=signature, variants=variants, files=files, sets=(given,))
    ran = run_child(_WORKER, request, answer=Ran, folder=folder, limits=limits, progress=progress)
    return {variant_id: array_files.load(sets[given.id], folder) for variant_id, sets in ran.outputs.items()}


def self_test(bundle: Path, folder: Path, *, limits: ChildLimits, progress: Progress) -> OtherKernels | None:
    """Do with a finished bundle what every device does, and return the tolerances for devices with other kernels.

    Raises:
        ConversionError: it fails.
    """

    def ask(*, others: bool) -> OtherKernels | None:
        request = SelfTestRequest(bundle=str(bundle), others=others)
        answer = run_child(_WORKER, request, answer=SelfTestPassed, folder=folder, limits=limits, progress=progress)
        return answer.other_kernels

    try:
        try:
            return ask(others=True)
        except ConversionError:
            # Kernels that nobody serves with may crash; what the bundle's own do is another matter.
            return ask(others=False)
    except SelfTestError as err:
        raise ConversionError(f"the bundle fails its own self-test and was not written: {err}") from err


def _variants(exported: Exported, folder: Path) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            id=file.id,
            engine=file.id.partition(":")[0],
            precision=Precision(file.id.partition(":")[2]),
            minimum_engine=file.minimum_engine,
            blob=canonical.sha256((folder / file.file).read_bytes()),
            inputs=file.inputs,
            outputs=file.outputs,
            float_layers=file.float_layers or msgspec.UNSET,
        )
        for file in exported.variants
    )


def _without_ties(measured: tuple[Measured, ...], folder: Path) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    """Hold labels that rounding alone decides for the source's own, and say how many there are."""
    kept, notes = list[Measured](), list[str]()
    for one in measured:
        variants = {variant: dict(outputs) for variant, outputs in one.variants.items()}
        for name, undecided in array_files.load(one.set.undecided, folder).items():
            source = one.source[name]
            for variant, outputs in variants.items():
                other = int((undecided & (outputs[name] != source)).sum())
                if undecided.any():
                    notes.append(
                        f"output {name!r}: {figures.part(int(undecided.sum()), undecided.size)} on {_described(one)} "
                        f"are ties, which rounding decides: {variant} decides {other} of them another way"
                    )
                outputs[name] = np.where(undecided, source, outputs[name])
        kept.append(replace(one, variants=variants))
    return tuple(kept), tuple(notes)


def _described(measured: Measured) -> str:
    given = measured.set
    batch = f", batch {given.samples // given.runs}" if given.kind is SetKind.RANDOM else ""
    return f"{given.kind} data{batch}"


def _measured(exported: Exported, ran: Ran, folder: Path) -> tuple[Measured, ...]:
    def load(files: dict[str, str]) -> dict[str, Array]:
        return array_files.load(files, folder)

    return tuple(
        Measured(
            s, load(s.inputs), load(s.outputs), {v: load(sets[s.id]) for v, sets in ran.outputs.items()},
            moved=load(s.moved), units=exported.units,
        )
        for s in exported.sets
    )  # fmt: skip
