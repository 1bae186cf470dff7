"""The plan of a conversion's variants: targets × precisions, in the order that a device should prefer. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Precision
from edgemm.errors import InputError
from edgemm_converter.job.targets import all_targets, target_of

AUTO = "auto"
"""In place of a precision: the smallest TFLite variant within a budget, found by evaluating candidates."""
CALIBRATED = (Precision.INT8, Precision.INT16X8, Precision.MIXED)
"""Precisions whose ranges come from calibration data."""

PRECISIONS = tuple(dict.fromkeys(precision for target in all_targets() for precision in target.precisions))


@dataclass(frozen=True)
class VariantPlan:
    """One variant to make."""

    engine: str
    precision: Precision

    @property
    def id(self) -> str:
        """The variant's id in the manifest."""
        return f"{self.engine}:{self.precision}"


OF_ESTIMATORS: tuple[str, ...] = (Engine.ONNX, Engine.TFLITE)
"""The engines that estimators are converted for, in the order that a device should prefer."""

FLOATS = VariantPlan(Engine.TFLITE, Precision.FLOAT32)
"""What other TFLite variants are made from."""


def required(
    plans: Collection[VariantPlan], *, targets: Collection[str], precisions: Collection[str]
) -> tuple[str, ...]:
    """Return the ids of the variants that were asked for by name; any other that cannot be made is left out.

    They are those of a named precision or, where only targets were named, float32 for these.
    """
    named = precisions or (targets and [Precision.FLOAT32])
    return tuple(p.id for p in plans if p.precision in named)


def plan(
    *, targets: Collection[str] = (), precisions: Collection[str] = (), calibrated: bool
) -> tuple[VariantPlan, ...]:
    """Return what to make; without `precisions` that is float32, and int8 too where there is calibration data.

    Raises:
        InputError: an unknown or impossible target or precision, or int8 without calibration data.
    """
    given = tuple(map(target_of, targets)) or all_targets()
    engines = tuple(target.engine for target in given)
    if AUTO in precisions:
        return _beside_auto(engines, [p for p in precisions if p != AUTO], targets=targets, calibrated=calibrated)
    if precisions:
        wanted = tuple(map(_precision, precisions))
    else:
        int8 = calibrated and any(Precision.INT8 in target.precisions for target in given)
        wanted = (Precision.FLOAT32, Precision.INT8) if int8 else (Precision.FLOAT32,)
    plans = tuple(
        VariantPlan(target.engine, precision)
        for target in all_targets()
        for precision in target.precisions
        if target.engine in engines and precision in wanted
    )
    _check_all_used(plans, engines=engines if targets else (), precisions=wanted)
    for precision in CALIBRATED:
        if precision in wanted and not calibrated:
            raise InputError(f"precision {precision} needs --calibration: real inputs, 100 or more if there are")
    return plans


def of_estimators(
    *, targets: Collection[str] = (), precisions: Collection[str] = (), calibrated: bool
) -> tuple[VariantPlan, ...]:
    """Return what to make of an estimator: float32 where no precision is named, for a table has columns of many scales.

    ONNX comes first, since its file takes many rows at a time.

    Raises:
        InputError: as `plan`.
    """
    wanted = tuple(precisions or (Precision.FLOAT32,))
    able = [engine for engine in OF_ESTIMATORS if {*target_of(engine).precisions} & {*wanted}]
    found = plan(targets=targets or able or OF_ESTIMATORS, precisions=wanted, calibrated=calibrated)
    return tuple(sorted(found, key=lambda one: OF_ESTIMATORS.index(one.engine)))


def _beside_auto(
    engines: tuple[str, ...], precisions: Collection[str], *, targets: Collection[str], calibrated: bool
) -> tuple[VariantPlan, ...]:
    """Return what is made beside the variant that is searched for: what is named, else float32 of other targets."""
    if Engine.TFLITE not in engines:
        raise InputError(f"precision {AUTO} searches among TFLite variants: add --target tflite")
    if precisions:
        return plan(targets=targets, precisions=precisions, calibrated=calibrated)
    beside = (target_of(engine) for engine in engines if engine != Engine.TFLITE)
    return tuple(VariantPlan(t.engine, Precision.FLOAT32) for t in beside if Precision.FLOAT32 in t.precisions)


def _precision(text: str) -> Precision:
    precision = Precision(text)
    if not precision.known:
        raise InputError(f"precision {text!r}: expected one of {', '.join(Precision)}")
    return precision


def _check_all_used(
    plans: tuple[VariantPlan, ...], *, engines: tuple[str, ...], precisions: tuple[Precision, ...]
) -> None:
    can = "; ".join(f"{target.engine}: {', '.join(target.precisions)}" for target in all_targets())
    for precision in precisions:
        if precision not in {p.precision for p in plans}:
            where = f" for target {', '.join(engines)}" if engines else ""
            raise InputError(f"precision {precision} is not supported{where}; supported are {can}")
    for engine in engines:
        if engine not in {p.engine for p in plans}:
            raise InputError(f"target {engine} supports none of the given precisions; supported are {can}")
