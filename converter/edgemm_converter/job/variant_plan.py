"""The plan of a conversion's variants: targets × precisions, in the order that a device should prefer. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar

from edgemm.bundle.manifest import Engine, Precision
from edgemm.errors import InputError

_E = TypeVar("_E", Engine, Precision)

# In order of preference: the smallest and fastest first.
SUPPORTED: tuple[tuple[Engine, Precision], ...] = (
    (Engine.TFLITE, Precision.INT8),
    (Engine.TFLITE, Precision.INT8_DYNAMIC),
    (Engine.TFLITE, Precision.INT16X8),
    (Engine.TFLITE, Precision.INT8_WEIGHTS),
    (Engine.TFLITE, Precision.INT4_WEIGHTS),
    (Engine.TFLITE, Precision.FLOAT16),
    (Engine.TFLITE, Precision.FLOAT32),
    (Engine.ONNX, Precision.FLOAT32),
)
AUTO = "auto"
"""In place of a precision: the smallest TFLite variant within a budget, found by evaluating candidates."""
CALIBRATED = (Precision.INT8, Precision.INT16X8, Precision.MIXED)
"""Precisions whose ranges come from calibration data."""

PRECISIONS = tuple(dict.fromkeys(precision for _, precision in SUPPORTED))


@dataclass(frozen=True)
class VariantPlan:
    """One variant to make."""

    engine: Engine
    precision: Precision

    @property
    def id(self) -> str:
        """The variant's id in the manifest."""
        return f"{self.engine}:{self.precision}"


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
    engines = tuple(_parse(Engine, "target", target) for target in targets) or tuple(Engine)
    if AUTO in precisions:
        return _beside_auto(engines, [p for p in precisions if p != AUTO], targets=targets, calibrated=calibrated)
    if precisions:
        wanted = tuple(_parse(Precision, "precision", precision) for precision in precisions)
    else:
        wanted = (
            (Precision.FLOAT32, Precision.INT8) if calibrated and Engine.TFLITE in engines else (Precision.FLOAT32,)
        )
    plans = tuple(VariantPlan(*pair) for pair in SUPPORTED if pair[0] in engines and pair[1] in wanted)
    _check_all_used(plans, engines=engines if targets else (), precisions=wanted)
    for precision in CALIBRATED:
        if precision in wanted and not calibrated:
            raise InputError(f"precision {precision} needs --calibration: real inputs, 100 or more if there are")
    return plans


def _beside_auto(
    engines: tuple[Engine, ...], precisions: Collection[str], *, targets: Collection[str], calibrated: bool
) -> tuple[VariantPlan, ...]:
    """Return what is made beside the variant that is searched for: what is named, else ONNX where it is wanted."""
    if Engine.TFLITE not in engines:
        raise InputError(f"precision {AUTO} searches among TFLite variants: add --target tflite")
    if precisions:
        return plan(targets=targets, precisions=precisions, calibrated=calibrated)
    return (VariantPlan(Engine.ONNX, Precision.FLOAT32),) if Engine.ONNX in engines else ()


def _parse(kind: type[_E], what: str, text: str) -> _E:
    try:
        return kind(text)
    except ValueError as err:
        known = ", ".join(kind)
        raise InputError(f"{what} {text!r}: expected one of {known}") from err


def _check_all_used(
    plans: tuple[VariantPlan, ...], *, engines: tuple[Engine, ...], precisions: tuple[Precision, ...]
) -> None:
    can = "; ".join(f"{e}: {', '.join(p for x, p in SUPPORTED if x is e)}" for e in Engine)
    for precision in precisions:
        if precision not in {p.precision for p in plans}:
            where = f" for target {', '.join(engines)}" if engines else ""
            raise InputError(f"precision {precision} is not supported{where}; supported are {can}")
    for engine in engines:
        if engine not in {p.engine for p in plans}:
            raise InputError(f"target {engine} supports none of the given precisions; supported are {can}")
