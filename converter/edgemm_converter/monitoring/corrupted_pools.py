"""Pools of corrupted inputs with what the model answers to them, and windows drawn from pools. Pure.

A pool has one family, or two, at one severity; only what heads see of its inputs is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgemm.monitoring.monitor_document import CELLS, HEADS, Scores, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring.corruptions import MOST_SEVERE, corrupted
from edgemm_runtime.monitoring.committee import CommitteeAnswers, compared, probabilities
from edgemm_runtime.monitoring.views import views

Run = Callable[[Mapping[str, Array]], Array]
"""Returns the monitored output [rows, classes] to inputs [rows, …] by name."""

Applied = tuple[tuple[str, float], ...]
CLEAN_POOLS = 4
PAIR_SEVERITY = 0.3, 3.2
_PRIOR = 0.7
_AT_ONCE, _LEAST_AT_ONCE = 2**21, 8
"""Numbers that are corrupted at a time, and rows at the least: some corruptions take of one row for another."""
_SHIFTED = ((300, True), (1000, True))
FITTED_ON = ((120, False), (250, False), (600, False), (1500, False), *_SHIFTED)
"""Windows of each pool: requests, and whether classes come as often as a Dirichlet distribution says."""

MEASURED_ON = ((200, False), (200, False), (1000, False), (200, True), (1000, True))


@dataclass
class CorruptedPool:
    """Rows under the same corruption: their places in the data, views, classes, and the model's probabilities."""

    applied: Applied
    rows: Array
    classes: Array
    views: tuple[Array, Array, Array]
    means: Array
    """What the profile has of each row [rows, features]."""
    model: Array
    answered: CommitteeAnswers | None = field(default=None)
    committee_right: Array = field(default_factory=lambda: np.zeros(0, bool))
    """Whether the committee is right, row by row."""

    @property
    def families(self) -> frozenset[str]:
        """Return the families that were applied."""
        return frozenset(family for family, _ in self.applied)

    @property
    def right(self) -> Array:
        """Return whether the model is right, row by row."""
        return np.asarray(self.model.argmax(axis=1) == self.classes)

    def compare(self, heads: Sequence[Array]) -> None:
        """Take what the heads answer [rows, classes] each."""
        self.answered = compared(self.model, heads)
        self.committee_right = np.add.reduce(heads).argmax(axis=1) == self.classes


@dataclass(frozen=True)
class Windows:
    """Windows of requests: shares [windows, FEATURES], accuracy, and the means of the inputs' features."""

    shares: Array
    accuracy: Array
    samples: Array
    means: Array
    families: tuple[frozenset[str], ...]


def applications(names: Sequence[str], *, severities: int, pairs: int, random: np.random.Generator) -> list[Applied]:
    """Return what is applied to each pool: nothing, each family at rising severities, and random pairs."""
    found: list[Applied] = [() for _ in range(CLEAN_POOLS)]
    for name in names:
        found += [((name, MOST_SEVERE * (step + random.random()) / severities),) for step in range(severities)]
    for _ in range(pairs):
        one, other = random.choice(len(names), 2, replace=False)
        found.append(tuple((names[i], float(random.uniform(*PAIR_SEVERITY))) for i in (one, other)))
    return found


def pool(
    view: View,
    inputs: Mapping[str, Array],
    classes: Array,
    applied: Applied,
    *,
    rows: Array,
    run: Run,
    scores: Scores,
    profiled: Callable[[Mapping[str, Array]], Array],
    random: np.random.Generator,
) -> CorruptedPool:
    """Return the pool of some rows under a corruption, with no more of them at a time than memory is for."""
    at_once = max(_LEAST_AT_ONCE, _AT_ONCE // max(1, sum(array[0].size for array in inputs.values())))
    parts = list[tuple[Array, ...]]()
    for start in range(0, len(rows), at_once):
        part = {name: array[rows[start : start + at_once]] for name, array in inputs.items()}
        given = corrupted(view, part, applied, random)
        parts.append((*views(view, given), profiled(given), probabilities(scores, run(given))))
    first, second, third, means, model = (np.concatenate(found) for found in zip(*parts, strict=True))
    return CorruptedPool(applied, rows, classes[rows], (first, second, third), means, model)


def windows(
    pools: Iterable[CorruptedPool], sizes: Sequence[tuple[int, bool]], *, classes: int, random: np.random.Generator
) -> Windows:
    """Draw windows of each pool, with replacement."""
    found = [one for pool in pools for one in _drawn(pool, sizes, classes, random)]
    shares, accuracy, samples, means, families = zip(*found, strict=True)
    return Windows(np.array(shares), np.array(accuracy), np.array(samples), np.array(means), families)


def _drawn(
    pool: CorruptedPool, sizes: Sequence[tuple[int, bool]], classes: int, random: np.random.Generator
) -> Iterator[tuple[Array, float, int, Array, frozenset[str]]]:
    right = pool.right
    for size, shifted in sizes:
        if shifted:
            prior = random.dirichlet(np.full(classes, _PRIOR))[pool.classes] + 1e-9
            places = random.choice(len(right), size, p=prior / prior.sum())
        else:
            places = random.integers(0, len(right), size)
        means = pool.means[places].mean(axis=0) if pool.means.shape[1] else np.zeros(0)
        yield _shares(pool, places), float(right[places].mean()), size, means, pool.families


def _shares(pool: CorruptedPool, places: Array) -> Array:
    """Return the shares of a window, as `AgreementCounts.shares` has them."""
    found = pool.answered
    assert found is not None
    cells = np.bincount(found.cells[places], minlength=CELLS) / len(places)
    by_heads = cells.reshape(-1, HEADS + 1).sum(axis=0)
    return np.concatenate(
        [
            cells, found.heads[places].mean(axis=0), [found.committee[places].mean()],
            found.pairs[places].mean(axis=0), [by_heads[HEADS], by_heads[0]],
        ]
    )  # fmt: skip
