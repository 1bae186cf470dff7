"""The counters of shadows in telemetry, and their reduction until a window fits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from edgemm.messages import ModelCounters, ShadowCounters, ShadowOutput
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.agreement import Agreement, ClassAgreement
from edgemm_runtime.shadow.tally import ShadowCounts

_MOST = 64
"""Shadows of one model, and outputs of one shadow, that are told."""
Models = tuple[ModelCounters, ...]


def of(active: ServedKey, counts: Sequence[ShadowCounts]) -> Iterator[ShadowCounters]:
    """Yield the counters of the shadows that ran beside `active`, the latest first."""
    mine = [one for one in counts if one.key.active == active]
    for one in mine[::-1][:_MOST]:
        yield ShadowCounters(
            digest=bytes.fromhex(one.key.shadow.digest),
            variant=one.key.shadow.variant,
            sampled=one.sampled,
            compared=one.compared,
            errors=one.errors,
            dropped=one.dropped,
            crashes=one.crashes,
            outputs=tuple(_output(name, found) for name, found in sorted(one.agreement.items()) if len(name) <= 128)[
                :_MOST
            ],
        )


def shed(models: Models) -> Iterator[Models]:
    """Yield ever less of what is told of shadows, and at last nothing of them: classes, then shadows, oldest first."""
    classes = max((len(output.classes) for output in _outputs(models)), default=0)
    while classes:
        classes //= 2
        models = _with_classes(models, classes)
        yield models
    shadows = max((len(model.shadows) for model in models if model.shadows is not UNSET), default=0)
    while shadows:
        shadows -= 1
        models = _with_shadows(models, shadows)
        yield models


def _output(name: str, found: Agreement) -> ShadowOutput:
    if isinstance(found, ClassAgreement):
        by_class = [
            (index, found.agreed.get(index, 0), found.active_only.get(index, 0), found.shadow_only.get(index, 0))
            for index in found.classes
        ]
        ranked = tuple(sorted(by_class, key=lambda counts: (-sum(counts[1:]), counts[0])))
        return ShadowOutput(name=name, rows=found.rows, agreed=sum(found.agreed.values()), classes=ranked)
    errors = list(found.counts)
    while errors and errors[-1] == 0:
        errors.pop()
    return ShadowOutput(name=name, errors=tuple(errors), above=found.above, below=found.below)


def _outputs(models: Models) -> Iterator[ShadowOutput]:
    for model in models:
        for shadow in () if model.shadows is UNSET else model.shadows:
            yield from shadow.outputs


def _with_classes(models: Models, most: int) -> Models:
    def less(shadow: ShadowCounters) -> ShadowCounters:
        return replace(shadow, outputs=tuple(replace(one, classes=one.classes[:most]) for one in shadow.outputs))

    return tuple(
        model if model.shadows is UNSET else replace(model, shadows=tuple(map(less, model.shadows))) for model in models
    )


def _with_shadows(models: Models, most: int) -> Models:
    return tuple(
        model if model.shadows is UNSET else replace(model, shadows=model.shadows[:most] or UNSET) for model in models
    )
