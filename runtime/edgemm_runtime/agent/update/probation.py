"""The judgement of a model on probation: it goes on, is committed, or is rolled back. Pure.

Figures and elapsed time are arguments. The rules are those of `edgemm.messages.Probation`; durations are of the
monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from edgemm.messages import LATENCY_EDGES_S, Probation
from edgemm.reasons import Reason

_LEAST_HANG_S, _HANG_RATIO = 1.5, 10
_LEAST_ASKED = 20
"""Requests before a client's sizes are held against a model: a single odd one is the client's own."""


class ProbationOutcome(StrEnum):
    """What to do next."""

    GO_ON = "go_on"
    COMMIT = "commit"
    ROLL_BACK = "roll_back"


class ProbationTrial(msgspec.Struct, frozen=True):
    """What a model did since its probation began; `latency_counts` are per bucket of `LATENCY_EDGES_S`."""

    elapsed_s: float
    requests: int = 0
    errors: int = 0
    latency_counts: Sequence[int] = ()
    selftest_failure: str | None = None
    hang: str | None = None
    hangs: int = 0
    """Inferences that the serving process gave up."""
    uncomputable: int = 0
    """Requests, beside the others, of a size that the model cannot compute."""
    uncomputable_before: float = 0.0
    """The share of such requests while the model before it served."""


class ProbationVerdict(msgspec.Struct, frozen=True):
    """The outcome; for a roll-back with its reason code, and words."""

    outcome: ProbationOutcome
    reason: Reason | None = None
    detail: str = ""


def judge(rules: Probation, trial: ProbationTrial) -> ProbationVerdict:
    """Weigh one trial against its rules; what turns a model back goes before what commits it."""
    for reason, found in _charges(rules, trial):
        if found is not None:
            return ProbationVerdict(ProbationOutcome.ROLL_BACK, reason, found)
    enough = trial.elapsed_s >= rules.min_duration_s and trial.requests >= rules.min_requests
    if enough or trial.elapsed_s >= rules.max_duration_s:
        return ProbationVerdict(ProbationOutcome.COMMIT)
    return ProbationVerdict(ProbationOutcome.GO_ON)


def _charges(rules: Probation, trial: ProbationTrial) -> Iterator[tuple[Reason, str | None]]:
    """Yield each reason to turn a model back, with what was found, or None."""
    yield Reason.SELFTEST_FAILED, trial.selftest_failure
    given_up = f"{trial.hangs} of {trial.requests} requests were never answered and given up" if trial.hangs else None
    yield Reason.HANG, trial.hang or given_up
    if trial.requests and trial.requests >= rules.min_requests:
        yield Reason.ERRORS, _errors(rules, trial)
        yield Reason.LATENCY, _latency(rules, trial)
    yield Reason.ERRORS, _uncomputable(rules, trial)


def _errors(rules: Probation, trial: ProbationTrial) -> str | None:
    if trial.errors <= rules.max_error_ratio * trial.requests:
        return None
    return f"{trial.errors} of {trial.requests} requests failed, at most {rules.max_error_ratio:.1%} may"


def _latency(rules: Probation, trial: ProbationTrial) -> str | None:
    median = median_s(trial.latency_counts)
    if rules.max_latency_s is None or median <= rules.max_latency_s:
        return None
    return f"median latency {median:.4g} s, the limit is {rules.max_latency_s:.4g} s"


def _uncomputable(rules: Probation, trial: ProbationTrial) -> str | None:
    """Return what is wrong with a model that refuses sizes which the one before it computed, for the same clients."""
    asked = trial.requests + trial.uncomputable
    limit = trial.uncomputable_before + rules.max_error_ratio
    if asked < max(rules.min_requests, _LEAST_ASKED) or trial.uncomputable <= limit * asked:
        return None
    return (
        f"{trial.uncomputable} of {asked} requests had a size that the model cannot compute, "
        f"{trial.uncomputable_before:.1%} before it; at most {limit:.1%} may"
    )


def hang_limit_s(slowest_s: float | None, *, first_s: float) -> float:
    """Return after which silence a golden sample counts as never answered.

    `slowest_s` is what the slowest one took so far in this process, None before the first, which has `first_s`. A
    machine that is busy may be ten times as slow; less than 1.5 s is no hang on any.
    """
    return first_s if slowest_s is None else max(_LEAST_HANG_S, _HANG_RATIO * slowest_s)


def median_s(counts: Sequence[int]) -> float:
    """Return the lower edge of the bucket that holds the median: a latency that is surely reached; 0 for no counts."""
    half, seen = sum(counts) / 2, 0
    for index, count in enumerate(counts):
        seen += count
        if seen > half or (seen == half and count):
            return LATENCY_EDGES_S[index - 1] if index else 0.0
    return 0.0
