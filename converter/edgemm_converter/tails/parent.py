"""The parent's side of float tails: what becomes of quantized variants in which an output, or a column of it, is off.

* int8 and int16x8 of TFLite: a child process looks for last layers that stay float, and that variant, of mixed
  precision, takes the place. Where there is none, as for other quantized variants: a variant that was asked for by name
  ends the conversion, another is left out, with a warning.
* So is an output whose mean error is over its limit, but in a variant that was asked for by name: there parity ends the
  conversion, and names the layer.
* Float variants are left to parity: there is nothing to fall back on. Estimators have one: the ONNX file, beside which
  a TFLite file that nobody asked for by name is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision, Variant
from edgemm.errors import ParityError
from edgemm_converter.children.child import ChildLimits, Progress, run_child
from edgemm_converter.children.protocol import ESTIMATORS, Exported, TailRequest, TailResult
from edgemm_converter.job import targets, variant_plan
from edgemm_converter.job.job import ConversionJob
from edgemm_converter.judging import assembly
from edgemm_converter.verify import parent as running
from edgemm_converter.verify.parent import EngineRun

_WORKER = "edgemm_converter.tails.child"
_TAILED = (Precision.INT8, Precision.INT16X8)
_MIXED_ID = f"{Engine.TFLITE}:{Precision.MIXED}"
_REASONS = 300
"""So many characters of why float tails do not help are shown."""

_ADVICE = (
    "no bundle was written: leave this variant out with --precision, {data}, or give each unit an output of its own"
)
_DATA = ("give --calibration with real inputs", "give more or cleaner --calibration data")
"""What to do about the data: without any, and with some."""


@dataclass(frozen=True)
class TailedRun:
    """A run in which no output of a quantized variant is off, and what was done about those that were."""

    ran: EngineRun
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def tailed(
    given: ConversionJob, everything: Exported, ran: EngineRun, folder: Path, *, limits: ChildLimits, progress: Progress
) -> TailedRun:
    """Replace or leave out the quantized variants in which an output or a column of it is off.

    Raises:
        ParityError: one was asked for by name and nothing helps, or none is left.
    """
    found = TailedRun(ran)
    if targets.is_finished(given.format):
        return found
    for variant in ran.variants:
        whole = variant.id not in given.required
        faults = assembly.faults(variant, ran.measured, whole=whole) if assembly.is_quantized(variant) else {}
        if not faults:
            continue
        fault, tried = next(iter(faults.values())), ""
        if variant.engine == Engine.TFLITE and variant.precision in _TAILED and not _has_mixed(found):
            request = _request(variant, tuple(faults), everything)
            if request is not None:
                result = run_child(_WORKER, request, answer=TailResult, folder=folder, limits=limits, progress=progress)
                if result.variant is not None:
                    made = msgspec.structs.replace(everything, variants=(result.variant,))
                    other = running.run(given, made, folder, limits=limits, progress=progress)
                    found = _in_place(found, variant, other, fault)
                    continue
                reasons = textwrap.shorten("; ".join(result.tried), _REASONS, placeholder=" …")
                tried = f"; nor does it help to leave layers float ({reasons})"
        found = _left_out(found, variant, given, f"{fault}{tried}")
    return found


def without(found: TailedRun, failure: ParityError, given: ConversionJob, *, where: str, searched: str) -> TailedRun:
    """Leave out the quantized variant, or TFLite file of an estimator, that a failure of parity is about.

    Nobody must have asked for it by name.

    `where` says at which layer it fails, `searched` is the variant that a search settled on, "" without a search.

    Raises:
        ParityError: the same failure, of a variant that was asked for, or stands for one, or is the last.
    """
    variant = next((v for v in found.ran.variants if str(failure).startswith(f"{v.id},")), None)
    wanted = {*given.required, searched}
    if (
        variant is None
        or not (assembly.is_quantized(variant) or _is_beside_onnx(variant, given))
        or len(found.ran.variants) == 1
        or variant.id in wanted
        or (variant.id == _MIXED_ID and wanted & set(found.left_out))
    ):
        raise ParityError(f"{failure}{where}") from failure
    return _left_out(found, variant, given, f"{str(failure).partition('; no bundle was written')[0]}{where}")


def _is_beside_onnx(variant: Variant, given: ConversionJob) -> bool:
    """Tell whether it is the TFLite file of an estimator, whose ONNX file may compute in double precision."""
    return given.format in ESTIMATORS and variant.engine == Engine.TFLITE


def _has_mixed(found: TailedRun) -> bool:
    return any(v.id == _MIXED_ID for v in found.ran.variants)


def _request(variant: Variant, outputs: tuple[str, ...], everything: Exported) -> TailRequest | None:
    floats = next((v for v in everything.variants if v.id == variant_plan.FLOATS.id), None)
    if floats is None:
        return None
    return TailRequest(
        signature=everything.signature, floats=floats, precision=variant.precision, outputs=outputs,
        sets=tuple(s for s in everything.sets if s.kind in assembly.JUDGED), units=everything.units,
    )  # fmt: skip


def _in_place(found: TailedRun, variant: Variant, other: EngineRun, fault: str) -> TailedRun:
    """Put a variant of mixed precision in the place of another."""
    [mixed] = other.variants
    layers = mixed.float_layers or ()
    floats = f"{', '.join(layers)} stay{'s' * (len(layers) == 1)} float"
    measured = zip(found.ran.measured, other.measured, strict=True)
    ran = replace(
        found.ran,
        variants=tuple(mixed if v.id == variant.id else v for v in found.ran.variants),
        files={**found.ran.files, **other.files},
        measured=tuple(replace(m, variants={**m.variants, **o.variants}) for m, o in measured),
        floats={name: of for name, of in found.ran.floats.items() if name != variant.id},
    )
    reason = f"{fault}; {mixed.id}, in which {floats}, is in its place"
    warning = f"{mixed.id} is in the place of {variant.id}, which loses an output or columns of it: {floats}"
    return TailedRun(ran, {**found.left_out, variant.id: reason}, (*found.warnings, warning))


def _left_out(found: TailedRun, variant: Variant, given: ConversionJob, why: str) -> TailedRun:
    """Leave a variant out.

    Raises:
        ParityError: it was asked for by name, or was the last.
    """
    others = tuple(v for v in found.ran.variants if v.id != variant.id)
    mixed = _has_mixed(found) and variant.precision in _TAILED
    if not others or (variant.id in given.required and not mixed):
        raise ParityError(f"{why}; {_ADVICE.format(data=_DATA[given.calibration is not None])}")
    floats = {name: of for name, of in found.ran.floats.items() if name != variant.id}
    ran = replace(found.ran, variants=others, floats=floats)
    reason = f"{why}; {_MIXED_ID} is in its place" if mixed else why
    option = "--precision" if assembly.is_quantized(variant) else "--target"
    warning = f"{variant.id} is left out, since it does not compute what the source does: give {option} to insist"
    return TailedRun(ran, {**found.left_out, variant.id: reason}, (*found.warnings, *(() if mixed else (warning,))))
