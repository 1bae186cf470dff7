"""The fit of a monitor: pools, heads that never saw a row or a family, maps, intervals, and how far off they are.

The only honest figure is that of families left out: heads and maps are fitted on the others, and a row is judged by
heads that never saw it. What is shipped is fitted on all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev

import numpy as np

from edgemm.monitoring.estimates import answers
from edgemm.monitoring.monitor_document import (
    FORMAT,
    HEADS,
    FamilyError,
    Interval,
    Map,
    Maps,
    MonitorDocument,
    Scores,
    Trial,
    View,
)
from edgemm_converter.data.arrays import Array
from edgemm_converter.monitoring import accuracy_maps, class_calibration, corrupted_pools, interval_fit
from edgemm_converter.monitoring.accuracy_maps import as_bytes
from edgemm_converter.monitoring.corrupted_pools import FITTED_ON, MEASURED_ON, CorruptedPool, Run, Windows
from edgemm_converter.monitoring.corruptions import families
from edgemm_converter.monitoring.head_training import rounded, trained
from edgemm_converter.monitoring.input_profile import InputProfile
from edgemm_converter.monitoring.monitor_plan import Plan
from edgemm_runtime.monitoring import committee
from edgemm_runtime.monitoring.committee import probabilities_of

ROW_FOLDS = 3
MOST_ERROR = 0.05
MOST_BEHIND = 0.05
_BEYOND = 0.99
_STEP = 40


@dataclass(frozen=True)
class MonitorSubject:
    """What is monitored: inputs [rows, …] by name, classes [rows], and a way to run the model."""

    view: View
    inputs: Mapping[str, Array]
    classes: Array
    count: int
    output: str
    scores: Scores
    run: Run


@dataclass(frozen=True)
class _Held:
    """Windows of families that were left out: estimates by map, and what the interval is made of."""

    windows: Windows
    by_map: Mapping[Map, Array]
    spread: Array
    distance: Array


def fit(
    given: MonitorSubject, plan: Plan, *, rows_of_pool: int, progress: Callable[[str], None], seed: int = 0
) -> MonitorDocument:
    """Return the document of a model, supported or not; a pool has `rows_of_pool` rows."""
    random = np.random.default_rng(seed)
    profile = InputProfile.of(given.view, given.inputs)
    names = [str(name) for name in random.permutation(families(given.view.modality))]
    pools = _pools(given, plan, names, profile, rows_of_pool=rows_of_pool, random=random, progress=progress)
    folds = _row_folds(given.classes, random)
    held = list[_Held]()
    for fold in range(plan.family_folds):
        progress(f"leaving families of corruptions out, {fold + 1} of {plan.family_folds}")
        out = frozenset(names[fold :: plan.family_folds])
        held.append(_left_out(given, plan, pools, folds, out=out, random=random))
    progress("training the committee")
    _cross_fit(given, plan, pools, pools, folds=folds, random=random)
    whole = corrupted_pools.windows(pools, FITTED_ON, classes=given.count, random=random)
    chosen = min(Map, key=lambda one: float(np.abs(_errors(held, one)).mean()))
    clean = [pool for pool in pools if not pool.applied]
    accuracy = float(np.concatenate([pool.right for pool in clean]).mean())
    committee_accuracy = float(np.concatenate([pool.committee_right for pool in clean]).mean())
    interval, trial = _judged(held, chosen, whole, accuracy=accuracy, rows=len(given.classes))
    reason = _unsupported(trial, accuracy=accuracy, committee_accuracy=committee_accuracy)
    rows = np.arange(len(given.classes))
    return MonitorDocument(
        format=FORMAT,
        supported=not reason,
        reason=reason,
        output=given.output,
        scores=given.scores,
        classes=given.count,
        clean_accuracy=accuracy,
        committee_accuracy=committee_accuracy,
        view=given.view,
        heads=tuple(rounded(_head(given, plan, pools, rows, number=number, random=random)) for number in range(HEADS)),
        maps=_maps(pools, whole, chosen=chosen),
        interval=interval,
        trial=trial,
        calibrators=class_calibration.calibrators(clean[0].model, clean[0].classes, given.count),
        profile=profile.features(given.inputs, whole.means),
    )


def _pools(
    given: MonitorSubject,
    plan: Plan,
    names: Sequence[str],
    profile: InputProfile,
    *,
    rows_of_pool: int,
    random: np.random.Generator,
    progress: Callable[[str], None],
) -> list[CorruptedPool]:
    """Run the model on everything that is tried."""
    applied = corrupted_pools.applications(names, severities=plan.severities, pairs=plan.pairs, random=random)
    count, found = len(given.classes), list[CorruptedPool]()
    for number, one in enumerate(applied):
        if number % _STEP == 0:
            progress(f"running the model on corrupted data, {number / len(applied):.0%}")
        rows = _rows(count, rows_of_pool, random)
        found.append(
            corrupted_pools.pool(
                given.view, given.inputs, given.classes, one, rows=rows, run=given.run, scores=given.scores,
                profiled=profile.values, random=random,
            )
        )  # fmt: skip
    return found


def _rows(count: int, wanted: int, random: np.random.Generator) -> Array:
    """Return the places of a pool's rows: each as often as any other, give or take one."""
    whole, rest = divmod(wanted, count)
    return np.concatenate([*[np.arange(count)] * whole, random.permutation(count)[:rest]])


def _row_folds(classes: Array, random: np.random.Generator) -> Array:
    """Return the fold of each row; each class is spread evenly."""
    folds = np.zeros(len(classes), np.int64)
    for one in np.unique(classes):
        places = random.permutation(np.flatnonzero(classes == one))
        folds[places] = (np.arange(len(places)) + int(random.integers(ROW_FOLDS))) % ROW_FOLDS
    return folds


def _head(
    given: MonitorSubject,
    plan: Plan,
    pools: Sequence[CorruptedPool],
    rows: Array,
    *,
    number: int,
    random: np.random.Generator,
) -> committee.HeadWeights:
    """Train head `number` on these rows of the data, in all these pools."""
    wanted = np.zeros(len(given.classes), bool)
    wanted[rows] = True
    places = [np.flatnonzero(wanted[pool.rows]) for pool in pools]
    share = plan.effort.rows / max(1, sum(map(len, places)))
    if share < 1:
        places = [place[random.random(len(place)) < share] for place in places]
    views = np.concatenate([pool.views[number][place] for pool, place in zip(pools, places, strict=True)])
    classes = np.concatenate([pool.classes[place] for pool, place in zip(pools, places, strict=True)])
    return trained(views, classes, count=given.count, effort=plan.effort, seed=number)


def _cross_fit(
    given: MonitorSubject,
    plan: Plan,
    kept: Sequence[CorruptedPool],
    asked: Sequence[CorruptedPool],
    *,
    folds: Array,
    random: np.random.Generator,
) -> None:
    """Let heads that are trained on `kept` answer to `asked`, each row by heads that never saw it."""
    found = [[np.zeros(pool.model.shape, np.float32) for _ in range(HEADS)] for pool in asked]
    for number in range(HEADS):
        for fold in range(ROW_FOLDS):
            head = _head(given, plan, kept, np.flatnonzero(folds != fold), number=number, random=random)
            for pool, answers_ in zip(asked, found, strict=True):
                places = folds[pool.rows] == fold
                answers_[number][places] = probabilities_of(head, pool.views[number][places])
    for pool, answers_ in zip(asked, found, strict=True):
        pool.compare(answers_)


def _left_out(
    given: MonitorSubject,
    plan: Plan,
    pools: Sequence[CorruptedPool],
    folds: Array,
    *,
    out: frozenset[str],
    random: np.random.Generator,
) -> _Held:
    """Fit everything without some families, and estimate on windows of these."""
    kept = [pool for pool in pools if not pool.families & out]
    asked = [pool for pool in pools if pool.families and pool.families <= out]
    _cross_fit(given, plan, kept, [*kept, *asked], folds=folds, random=random)
    fitted = corrupted_pools.windows(kept, FITTED_ON, classes=given.count, random=random)
    measured = corrupted_pools.windows(asked, MEASURED_ON, classes=given.count, random=random)
    maps = _maps(kept, fitted)
    found = [answers(maps, shares) for shares in measured.shares.tolist()]
    scale, marks = interval_fit.landmarks(fitted.shares)
    return _Held(
        windows=measured,
        by_map={one: np.array([by_map[one] for by_map in found]) for one in Map},
        spread=np.array([pstdev(by_map.values()) for by_map in found]),
        distance=interval_fit.distances(measured.shares, scale, marks),
    )


def _maps(pools: Sequence[CorruptedPool], fitted: Windows, *, chosen: Map = Map.ISOTONIC) -> Maps:
    cells = np.concatenate([pool.answered.cells for pool in pools if pool.answered is not None])
    right = np.concatenate([pool.right for pool in pools])
    return accuracy_maps.fitted(fitted.shares, fitted.accuracy, cells, right, chosen=chosen)


def _errors(held: Sequence[_Held], one: Map) -> Array:
    return np.concatenate([part.by_map[one] - part.windows.accuracy for part in held])


def _judged(
    held: Sequence[_Held], chosen: Map, whole: Windows, *, accuracy: float, rows: int
) -> tuple[Interval, Trial]:
    """Return the interval, and how far off the estimate was."""
    terms = [_terms(part, chosen, accuracy=accuracy) for part in held]
    errors = [part.by_map[chosen] - part.windows.accuracy for part in held]
    together, off = np.concatenate(terms), np.concatenate(errors)
    weights, quantile = interval_fit.weights_of(together, np.abs(off))
    scale, marks = interval_fit.landmarks(whole.shares)
    interval = Interval(
        weights=tuple(map(float, weights)),
        quantile=quantile,
        scale=as_bytes(scale),
        landmarks=as_bytes(marks),
        most_distance=float(np.quantile(np.concatenate([part.distance for part in held]), _BEYOND)),
        most_spread=float(np.quantile(np.concatenate([part.spread for part in held]), _BEYOND)),
    )
    samples = np.concatenate([part.windows.samples for part in held])
    named = [name for part in held for name in part.windows.families]
    size = np.abs(off)
    trial = Trial(
        mean_error=float(size.mean()),
        mean_error_200=float(size[samples == 200].mean()),
        mean_error_1000=float(size[samples == 1000].mean()),
        worst_5_percent=float(np.quantile(size, 0.95)),
        bias=float(off.mean()),
        coverage=_coverage(terms, errors),
        by_map={one.value: float(np.abs(_errors(held, one)).mean()) for one in Map},
        families=tuple(_by_family(named, off)),
        rows=rows,
        windows=len(off),
    )
    return interval, trial


def _terms(part: _Held, chosen: Map, *, accuracy: float) -> Array:
    """Return the terms of an interval's width [windows, 5], as `estimates.half_width` has them."""
    found = part.by_map[chosen]
    loss = np.clip(accuracy - found, 0.0, 1.0)
    chance = np.sqrt(np.maximum(found * (1 - found), 0.01) / part.windows.samples)
    return np.column_stack([np.full(len(found), 0.01), loss / 10, part.spread, part.distance / 10, chance])


def _coverage(terms: Sequence[Array], errors: Sequence[Array]) -> float:
    """Return the share of windows that an interval of the other folds' weights covers."""
    inside = list[Array]()
    for fold, (own, off) in enumerate(zip(terms, errors, strict=True)):
        others = [i for i in range(len(terms)) if i != fold]
        fitted = np.concatenate([terms[i] for i in others]), np.abs(np.concatenate([errors[i] for i in others]))
        weights, quantile = interval_fit.weights_of(*fitted)
        inside.append(np.abs(off) <= quantile * (own @ weights))
    return float(np.concatenate(inside).mean())


def _by_family(named: Sequence[frozenset[str]], off: Array) -> list[FamilyError]:
    """Return the errors by family, the worst first; windows of two families count for none."""
    found = list[FamilyError]()
    for family in sorted({name for names in named if len(names) == 1 for name in names}):
        own = off[[names == {family} for names in named]]
        found.append(FamilyError(family=family, mean_error=float(np.abs(own).mean()), bias=float(own.mean())))
    return sorted(found, key=lambda one: -one.mean_error)


def _unsupported(trial: Trial, *, accuracy: float, committee_accuracy: float) -> str:
    """Say why no accuracy may be shown, "" where it may."""
    if trial.mean_error > MOST_ERROR:
        return (
            f"on corruptions that it had not seen, the estimated accuracy is off by {trial.mean_error:.3f} on average, "
            f"expected at most {MOST_ERROR}"
        )
    if committee_accuracy < accuracy - MOST_BEHIND:
        return (
            f"the committee is right in {committee_accuracy:.1%} of the evaluation data and the model in "
            f"{accuracy:.1%}: expected at most {100 * MOST_BEHIND:g} points less"
        )
    return ""
