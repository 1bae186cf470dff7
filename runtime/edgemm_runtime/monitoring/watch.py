"""The watch over one model: takes a sample of its requests, and counts how its answers agree with the committee.

`take` is called in the thread that answers a request, for few of them; it copies and never waits. `settle` does the
rest in another thread. Counters only rise while the process runs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import EdgemmError
from edgemm.monitoring import AgreementCounts, Estimate, MonitorDocument, estimate
from edgemm.monitoring.monitor_document import floats
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.monitoring import input_features
from edgemm_runtime.monitoring.committee import Committee
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.tensors.affine import from_file
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm

_log = logging.getLogger(__name__)
_OVERHEAD_BYTES = 1024
"""What a request that waits takes beside its numbers, at most."""
_STEPS = 50
"""Of how many parts the window of the newest rows is made."""


@dataclass(frozen=True)
class WatchedCounts:
    """What a watch has counted since the process started, and what it says of the newest rows."""

    key: ServedKey
    document: MonitorDocument
    counts: AgreementCounts
    newest: Estimate
    since_start: Estimate
    features: tuple[tuple[int, ...], ...]
    """Of each feature of the profile, counts under, in each bin, at or over the last edge, and NaN."""
    means: tuple[float, ...]
    """The mean of each feature over the newest rows."""
    shed: int
    """Requests that were to be looked at and for which there was no room, or that could not be looked at."""


class ModelWatch:
    """The watch over one (model, digest, variant); safe to use from many threads."""

    def __init__(
        self, key: ServedKey, document: MonitorDocument, manifest: Manifest, variant: Variant, limits: MonitorLimits
    ) -> None:
        self.key, self.document = key, document
        self.wanted = False
        """Whether the next request is to be taken: all that most requests look at."""
        self._limits, self._committee = limits, Committee(document)
        self._specs = {spec.name: spec for spec in (*manifest.signature.inputs, *manifest.signature.outputs)}
        self._tensors = {tensor.name: tensor for tensor in (*variant.inputs, *variant.outputs)}
        self._edges = [np.frombuffer(one.edges, "<f4").astype(np.float64) for one in document.profile]
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Arrays, Array, StoredForm | None]] = deque()
        self._waiting_bytes = self._shed = 0
        self._told = False
        self._counts = AgreementCounts.none(document.classes)
        self._features = [np.zeros(len(edges) + 2, np.int64) for edges in self._edges]
        self._sums: Array = np.zeros(len(self._edges))
        self._newest: deque[tuple[AgreementCounts, Array]] = deque()

    def take(self, inputs: Arrays, outputs: Arrays, form: StoredForm | None = None) -> None:
        """Keep a copy of a request that was answered, or of as many of its first rows as there is room for."""
        self.wanted = self._limits.requests_per_minute == 0
        named = {name: inputs[name] for name in self.document.view.inputs if name in inputs}
        output = outputs.get(self.document.output)
        if output is None or len(named) != len(self.document.view.inputs) or not _same_rows(output, named.values()):
            self._pass_over()
            return
        row_bytes = sum(map(_row_bytes, (*named.values(), output)))
        with self._lock:
            rows = min(self._limits.rows, len(output), self._room(row_bytes))
            self._waiting_bytes += _OVERHEAD_BYTES + rows * row_bytes if rows else 0
        if not rows:
            self._pass_over()
            return
        try:
            kept = {name: array[:rows].copy() for name, array in named.items()}, output[:rows].copy(), form
        except MemoryError:
            self._pass_over()
            return
        with self._lock:
            self._waiting.append(kept)

    def take_each(self, requests: Sequence[Arrays], answers: Sequence[Arrays]) -> None:
        """Take of requests that one inference answered as many as are wanted."""
        for inputs, outputs in zip(requests, answers, strict=True):
            if not self.wanted:
                break
            self.take(inputs, outputs)

    def settle(self) -> None:
        """Count what waits."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._waiting_bytes = 0
                    return
                inputs, output, form = self._waiting.popleft()
            try:
                real = {name: self._real(name, array, form) for name, array in inputs.items()}
                self._count(real, self._real(self.document.output, output, form))
            except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError, EdgemmError) as err:
                # Nothing that a client sent may end the watch: the bundle's document may be for other shapes.
                level, self._told = logging.DEBUG if self._told else logging.WARNING, True
                _log.log(level, "request is not monitored model=%s error=%s", self.key.name, err)
                self._pass_over()

    def watched(self) -> WatchedCounts:
        """Return what was counted, and what it says."""
        with self._lock:
            counts, parts, shed, all_sums = self._counts, list(self._newest), self._shed, self._sums
            features = tuple(tuple(map(int, one)) for one in self._features)
        newest = AgreementCounts.none(self.document.classes)
        sums = np.zeros(len(self._edges))
        for part, part_sums in parts:
            newest, sums = newest + part, sums + part_sums
        means = _means(sums, newest)
        return WatchedCounts(
            key=self.key,
            document=self.document,
            counts=counts,
            newest=estimate(self.document, newest, beyond=_beyond(self.document, means)),
            since_start=estimate(self.document, counts, beyond=_beyond(self.document, _means(all_sums, counts))),
            features=features,
            means=means,
            shed=shed,
        )

    def _count(self, inputs: Arrays, output: Array) -> None:
        document = self.document
        counts = self._committee.answered(inputs, output).counts(document.classes)
        values = input_features.values(document.view, inputs)[:, : len(self._edges)].astype(np.float64)
        binned = [
            np.bincount(np.searchsorted(edges, values[:, place], side="right"), minlength=len(edges) + 1)
            for place, edges in enumerate(self._edges)
        ]
        with self._lock:
            self._counts += counts
            for place, one in enumerate(binned):
                self._features[place][:-1] += one
            sums = values.sum(axis=0)
            self._sums = self._sums + sums
            self._remember(counts, sums)

    def _remember(self, counts: AgreementCounts, sums: Array) -> None:
        """Keep the newest rows apart, in parts; the oldest part goes when there are more than a window."""
        if self._newest and self._newest[-1][0].samples < self._limits.window // _STEPS:
            last, last_sums = self._newest.pop()
            counts, sums = last + counts, last_sums + sums
        self._newest.append((counts, sums))
        while sum(part.samples for part, _ in self._newest) - self._newest[0][0].samples >= self._limits.window:
            self._newest.popleft()

    def _real(self, name: str, array: Array, form: StoredForm | None) -> Array:
        """Return the numbers that a file's own integers stand for."""
        if form is None or (name not in form.inputs and name not in form.outputs):
            return array
        return from_file(array, self._tensors[name], dtype=self._specs[name].dtype)

    def _room(self, row_bytes: int) -> int:
        """Return how many rows of this size may wait; one of usual size always may where nothing does."""
        room = (self._limits.waiting_bytes - self._waiting_bytes - _OVERHEAD_BYTES) // max(1, row_bytes)
        alone = not self._waiting_bytes and row_bytes <= self._limits.row_bytes
        return max(room, 1 if alone else 0)

    def _pass_over(self) -> None:
        with self._lock:
            self._shed += 1


def _same_rows(output: Array, inputs: Iterable[Array]) -> bool:
    return len(output) > 0 and all(len(array) == len(output) for array in inputs)


def _row_bytes(array: Array) -> int:
    """Return what one row takes when it is looked at: of numbers of 4 bytes, or larger ones."""
    return array[:1].size * max(4, array.itemsize)


def _means(sums: Array, counts: AgreementCounts) -> tuple[float, ...]:
    return tuple(float(one) for one in sums / max(1, counts.samples))


def _beyond(document: MonitorDocument, means: tuple[float, ...]) -> bool:
    """Tell whether the mean of a feature is outside of every window of the conversion."""
    for feature, mean in zip(document.profile, means, strict=True):
        edges = floats(feature.edges)
        slack = 0.1 * (edges[-1] - edges[0])
        if not feature.low - slack <= mean <= feature.high + slack:
            return True
    return False
