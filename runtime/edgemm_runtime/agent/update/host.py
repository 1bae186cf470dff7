"""The agent's interface to the serving process: swap a model in, take it out, check it, read its counters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.agent.reporting.telemetry import Served
from edgemm_runtime.agent.state.documents import Installed
from edgemm_runtime.engines import golden
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.models.counters import Counters, CounterSnapshot
from edgemm_runtime.models.model import Model
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.shadow.running import ShadowStatus
from edgemm_runtime.shadow.shadow import ShadowCandidate
from edgemm_runtime.tensors.named_arrays import Array, Arrays


class ModelHost(Protocol):
    """What answers requests; a swap drops none, and a failed one leaves what was active."""

    def serving(self, name: str) -> tuple[str, str] | None:
        """Return (digest, variant) of what answers requests for a model now."""

    def activate(self, name: str, installed: Installed, source: BundleSource) -> None:
        """Load beside what serves, answer a golden sample in this process, swap.

        Raises:
            BundleError: a blob is damaged.
            EngineError: the engine is missing or failed, or the golden sample came out wrong.
        """

    def suspend(self, name: str) -> None:
        """Let nothing answer for a model until it is active (again): requests are told that it is not ready."""

    def deactivate(self, name: str) -> None:
        """Stop serving a model, where it is known; requests in flight end on it."""

    def check(self, name: str, source: BundleSource, *, answered: Callable[[], None]) -> None:
        """Let what serves answer the golden samples, without counting them; `answered` is called after each.

        Raises:
            EngineError: an answer is wrong, or the engine failed.
            BundleError: the samples cannot be read.
        """

    def snapshot(self) -> Sequence[CounterSnapshot]:
        """Return the counters of all that served since the process started."""


class _Direct(msgspec.Struct, frozen=True):
    """A served model as a `LoadedModel`, past the counters."""

    model: Model

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs; see `LoadedModel`."""
        return self.model.predict(inputs)


class RegistryHost:
    """A `ModelHost` over the registry of the HTTP server in this process."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def serving(self, name: str) -> tuple[str, str] | None:
        """Return what answers; see `ModelHost`."""
        served = self._served(name)
        return (served.key.digest, served.key.variant) if served else None

    def activate(self, name: str, installed: Installed, source: BundleSource) -> None:
        """Swap a model in; see `ModelHost`."""
        variant = source.manifest.variant(installed.variant)
        self._registry.activate(name, source, variant, threads=installed.threads)

    def suspend(self, name: str) -> None:
        """Let a model wait; see `ModelHost`."""
        self._registry.suspend(name)

    def deactivate(self, name: str) -> None:
        """Take a model out; see `ModelHost`."""
        self._registry.deactivate(name)

    def check(self, name: str, source: BundleSource, *, answered: Callable[[], None]) -> None:
        """Run the golden samples; see `ModelHost`."""
        served = self._registry.get(name)
        golden.check(source, served.variant, _Direct(served.model.fresh()), answered=answered)

    def snapshot(self) -> Sequence[CounterSnapshot]:
        """Return all counters; see `ModelHost`."""
        return self._registry.snapshot()

    def run_shadow(self, candidate: ShadowCandidate) -> None:
        """Run a shadow; see `ShadowHost`."""
        self._registry.add_shadow(candidate)

    def end_shadow(self, name: str) -> None:
        """End a shadow; see `ShadowHost`."""
        self._registry.remove_shadow(name)

    def shadows(self) -> Sequence[ShadowStatus]:
        """Return where shadows stand; see `ShadowHost`."""
        return self._registry.shadows.statuses()

    def served(self) -> Served:
        """Return all counters since the process started: requests, shadows and late labels."""
        feedback, models = self._registry.feedback, self._registry.snapshot()
        labels, known = feedback.counts(), {snapshot.key for snapshot in models}
        # A label may be of what served before the last start.
        before = [Counters(one.key).snapshot() for one in labels if one.key not in known]
        return Served(
            models=(*models, *before),
            shadows=self._registry.shadows.counts(),
            labels=labels,
            unmatched_labels=feedback.unmatched,
        )

    def _served(self, name: str) -> ServedModel | None:
        try:
            return self._registry.get(name)
        except (NotFoundError, UnavailableError):
            return None
