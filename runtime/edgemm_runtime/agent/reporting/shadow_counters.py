"""The counters of shadows in telemetry, and their reduction until a window fits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from msgspec import UNSET
from msgspec.structs import replace

from edgemm.messages import ModelCounters, ShadowCounters, ShadowOutput
from edgemm_runtime.agent.reporting.packing import list_bytes, packed_bytes
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.agreement import Agreement, ClassAgreement
from edgemm_runtime.shadow.tally import ShadowCounts

_MOST = 64
"""Shadows of one model, and outputs of one shadow, that are told."""
_KEY_BYTES = 2
"""Of a field's name on the wire, which is one letter."""
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


def fitted(models: Models, *, room_bytes: Callable[[int], int]) -> Models:
    """Return as much of `models` as there is room for, counted from the sizes of the parts.

    What is left out first are classes of all shadows, the rarest first, by halves; then shadows, the oldest first; then
    models, those at the end first. `room_bytes` is for a list of models, given how many of them are left out, over the
    byte that an empty list takes.
    """
    bare = _with_shadows(models, 0)
    sizes = list(accumulate(map(packed_bytes, bare), initial=0))

    def left_bytes(kept: int) -> int:
        return room_bytes(len(bare) - kept) + list_bytes(()) - list_bytes(bare[:kept]) - sizes[kept]

    kept = next((n for n in range(len(bare), 0, -1) if left_bytes(n) >= 0), 0)
    if kept < len(bare):
        return bare[:kept]
    without_classes, left = _with_classes(models, 0), left_bytes(kept)
    shadows = [_Listed.of(_shadows(model)) for model in without_classes]
    most = max((len(one) for one in shadows), default=0)
    told = next(n for n in range(most, -1, -1) if sum(one.packed_bytes(n) for one in shadows) <= left)
    if told < most:
        return _with_shadows(without_classes, told)
    left -= sum(one.packed_bytes(told) for one in shadows)
    classes = [
        _Listed.of(output.classes) for model in models for shadow in _shadows(model) for output in shadow.outputs
    ]
    told = most = max((len(one) for one in classes), default=0)
    while sum(one.packed_bytes(told) for one in classes) > left:
        told //= 2
    return models if told == most else _with_classes(models, told)


@dataclass(frozen=True)
class _Listed:
    """A list in a field of its own, which is left out where nothing is in it."""

    sums: tuple[int, ...]
    """Bytes of the first none, one, two, … items."""

    @classmethod
    def of(cls, items: Sequence[object]) -> _Listed:
        """Measure the items of a list."""
        return cls(tuple(accumulate(map(packed_bytes, items), initial=0)))

    def __len__(self) -> int:
        return len(self.sums) - 1

    def packed_bytes(self, most: int) -> int:
        """Return what the field takes with at most so many items."""
        number = min(most, len(self))
        return _KEY_BYTES + list_bytes(range(number)) + self.sums[number] if number else 0


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


def _shadows(model: ModelCounters) -> tuple[ShadowCounters, ...]:
    return () if model.shadows is UNSET else model.shadows


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
