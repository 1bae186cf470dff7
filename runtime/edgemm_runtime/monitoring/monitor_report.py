"""The report of `GET /monitor`: how right each model is, as far as that can be told without labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from edgemm.monitoring import Estimate
from edgemm_runtime.monitoring.watch import WatchedCounts


class ShownEstimate(Struct, frozen=True, kw_only=True):
    """An accuracy of 0 to 1 with its 95 % interval; null where there is no number to show."""

    state: str
    samples: int
    accuracy: float | None
    low: float | None
    high: float | None


class ShownFeature(Struct, frozen=True, kw_only=True):
    """The mean of one feature of the newest inputs, and the range of its means in all windows of the conversion."""

    name: str
    mean: float
    low: float
    high: float


class MonitoredModel(Struct, frozen=True, kw_only=True):
    """One model: `estimate` is of the newest rows, `since_start` of all since the process started."""

    model: str
    version: str
    variant: str
    digest: str
    supported: bool
    reason: str
    clean_accuracy: float
    typical_error: float
    estimate: ShownEstimate
    since_start: ShownEstimate
    features: tuple[ShownFeature, ...]
    shed: int


class MonitorReport(Struct, frozen=True, kw_only=True):
    """All models whose bundle says how they are monitored."""

    models: tuple[MonitoredModel, ...]


def report(watched: Iterable[WatchedCounts]) -> MonitorReport:
    """Return the report of what was watched."""
    return MonitorReport(models=tuple(map(_model, watched)))


def _model(one: WatchedCounts) -> MonitoredModel:
    document = one.document
    return MonitoredModel(
        model=one.key.name,
        version=one.key.version,
        variant=one.key.variant,
        digest=one.key.digest,
        supported=document.supported,
        reason=document.reason,
        clean_accuracy=document.clean_accuracy,
        typical_error=document.trial.mean_error,
        estimate=_estimate(one.newest),
        since_start=_estimate(one.since_start),
        features=tuple(
            ShownFeature(name=feature.name, mean=mean, low=feature.low, high=feature.high)
            for feature, mean in zip(document.profile, one.means, strict=True)
        ),
        shed=one.shed,
    )


def _estimate(found: Estimate) -> ShownEstimate:
    return ShownEstimate(
        state=found.state, samples=found.samples, accuracy=found.accuracy, low=found.low, high=found.high
    )
