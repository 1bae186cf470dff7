"""The registry of served models: name → the model that is active now.

A model is swapped in only after it answered a golden sample in this process. A request keeps the model that it
started on; the old one is freed when its last request has ended. The sequences of a stateful model end with it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgemm.bundle.manifest import Variant
from edgemm.errors import InputError, NotFoundError, UnavailableError
from edgemm.monitoring import MonitorDocument
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.engines.pacing import Rests, no_rest
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import Counters, CounterSnapshot
from edgemm_runtime.models.feedback import Feedback
from edgemm_runtime.models.model import Model, load_variant
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.monitoring.watch import WatchedCounts
from edgemm_runtime.monitoring.watching import Watching, document_of
from edgemm_runtime.shadow.counting import incompatibility
from edgemm_runtime.shadow.running import RunningShadows
from edgemm_runtime.shadow.shadow import Shadow, ShadowCandidate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unloaded:
    """A model that was taken out of serving and may come back: its last version, and why it is out."""

    version: str
    reason: str


@dataclass(frozen=True)
class PreparedModel:
    """A model that answered a golden sample and is not served yet."""

    key: ServedKey
    model: Model
    monitor: MonitorDocument | None = None
    """By which it is monitored without labels."""


class ModelRegistry:
    """The served models of one process; reading takes no lock.

    The shadows beside the models, and the predictions that await their label, are given to it, and so are the limits
    of each stateful model's `sequences`.
    """

    def __init__(
        self,
        shadows: RunningShadows | None = None,
        feedback: Feedback | None = None,
        *,
        sequences: SequenceLimits | None = None,
        monitor: MonitorLimits | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shadows = shadows or RunningShadows()
        self.feedback = feedback or Feedback()
        self.watching = Watching(monitor)
        self.sequences, self._now_s = sequences or SequenceLimits(), now_s
        self._changing = threading.Lock()
        self._models: dict[str, ServedModel | None] = {}
        self._unloaded: dict[str, Unloaded] = {}
        self._counters: dict[ServedKey, Counters] = {}
        self._alive: weakref.WeakSet[ServedModel] = weakref.WeakSet()

    def expect(self, name: str) -> None:
        """Announce a model: until it is active, the server is not ready and requests for it get "not ready"."""
        with self._changing:
            self._models = {name: None, **self._models}

    def activate(self, name: str, source: BundleSource, variant: Variant, *, threads: int = 1) -> ServedModel:
        """Load a variant, let it answer a golden sample, and swap it in; on an error what was active stays.

        Raises:
            BundleError: a blob is damaged.
            EngineError: the engine is not here, or the golden sample came out wrong.
        """
        return self.swap_in(self.prepare(name, source, variant, threads=threads))

    def prepare(self, name: str, source: BundleSource, variant: Variant, *, threads: int = 1) -> PreparedModel:
        """Do all of `activate` that takes long and may fail, and change nothing; raises as it does."""
        rest = Rests() if any(self._models.values()) else no_rest
        model = load_variant(source, variant, threads=threads, rest=rest)
        before = self._models.get(name)
        if before is not None:
            # As many as were needed before will be needed at once after the swap: no request is to wait for them.
            model.loaded.grow(before.model.loaded.members, rest=rest)
        key = ServedKey(name, source.manifest.version, source.digest, variant.id)
        return PreparedModel(key, model, document_of(source))

    def swap_in(self, prepared: PreparedModel) -> ServedModel:
        """Serve what was prepared in place of what is active."""
        key, name = prepared.key, prepared.key.name
        with self._changing:
            counters, limits = self._counters.setdefault(key, Counters(key)), self.sequences
            served = ServedModel(name, prepared.model, counters, self.feedback, limits=limits, now_s=self._now_s)
            served.shadow = self._compatible(self.shadows.beside(name), served)
            if prepared.monitor is not None and served.sequences is None:
                served.watch = self.watching.beside(
                    key, prepared.monitor, served.manifest, served.variant, in_use=[one.key for one in self.active()]
                )
            self._serve({**self._models, name: served})
            self._unloaded = {other: why for other, why in self._unloaded.items() if other != name}
            self._alive.add(served)
        _log.info("activated model=%s version=%s variant=%s digest=%.12s", name, key.version, key.variant, key.digest)
        return served

    def suspend(self, name: str) -> None:
        """Let nothing answer for a model that is still to come, or to come back: as `expect`, also where it serves."""
        with self._changing:
            self._serve({**self._models, name: None})

    def deactivate(self, name: str) -> None:
        """Stop serving a model, if it is served; requests in flight end on it."""
        with self._changing:
            known = name in self._models
            self._serve({other: served for other, served in self._models.items() if other != name})
        if known:
            _log.info("deactivated model=%s", name)

    def unload(self, name: str, reason: str) -> None:
        """Take an active model out of serving until it is activated again; requests in flight end on it.

        Raises:
            NotFoundError: no such model is served.
            UnavailableError: it is expected but not active yet.
        """
        with self._changing:
            version = self.get(name).manifest.version
            self._unloaded = {**self._unloaded, name: Unloaded(version, reason)}
            self._serve({other: served for other, served in self._models.items() if other != name})
        _log.info("unloaded model=%s version=%s", name, version)

    def unloaded(self) -> Mapping[str, Unloaded]:
        """Return the models that were taken out of serving and may come back."""
        return self._unloaded

    def add_shadow(self, candidate: ShadowCandidate) -> None:
        """Run a candidate beside the active model of its name, and beside what is swapped in for that later.

        Raises:
            NotFoundError: no such model is served.
            UnavailableError: it is expected but not active yet.
            InputError: the candidate cannot answer its requests, or not be compared.
        """
        with self._changing:
            served = self.get(candidate.key.name)
            if reason := incompatibility(served.manifest, candidate.manifest):
                raise InputError(f"{candidate.key.name} {candidate.key.version} cannot run as a shadow: {reason}")
            served.shadow = self.shadows.put(candidate)

    def remove_shadow(self, name: str) -> None:
        """Stop the shadow beside a model, if there is one."""
        with self._changing:
            served = self._models.get(name)
            if served is not None:
                served.shadow = None
        self.shadows.remove(name)

    def get(self, name: str, *, version: str | None = None) -> ServedModel:
        """Return the active model.

        Raises:
            NotFoundError: no such model or version is served.
            UnavailableError: it is expected but not active yet.
        """
        models = self._models
        if name not in models:
            if name in self._unloaded:
                raise NotFoundError(f"model {name!r} is unloaded: load it over the management address")
            known = ", ".join(sorted(models)) or "none"
            raise NotFoundError(f"no model {name[:80]!r} is served here; served: {known}")
        served = models[name]
        if served is None:
            raise UnavailableError(f"model {name!r} is not ready yet: try again later")
        if version is not None and version != served.manifest.version:
            raise NotFoundError(f"model {name!r} serves version {served.manifest.version}, not {version[:80]!r}")
        return served

    def known(self, name: str) -> str:
        """Return a name where a model of that name is served or expected, "" for what clients made up."""
        return name if name in self._models else ""

    def usual_s(self, name: str) -> float:
        """Return how long a model's requests take lately; 0 where it has not been asked, or is not active.

        0 also where it is stateful: its requests wait for one another, which no event loop may.
        """
        served = self._models.get(name)
        return served.usual_s if served is not None and served.sequences is None else 0.0

    def together(self, name: str) -> bool:
        """Whether requests for a model may be answered as one batch."""
        served = self._models.get(name)
        return served is not None and served.together

    def only(self, *, otherwise: str = "in the path") -> ServedModel:
        """Return the one model that is served; `otherwise` says where a client has to name one.

        Raises:
            NotFoundError: there are several, or none.
        """
        names = self.names()
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise NotFoundError(f"expected the name of a model {otherwise}; served: {known}")
        return self.get(names[0])

    def names(self) -> tuple[str, ...]:
        """Return the names of all models that are served or expected."""
        return tuple(sorted(self._models))

    def versions(self) -> dict[str, str | None]:
        """Return the active version of each model; None where it is still to come."""
        return {name: served.manifest.version if served else None for name, served in self._models.items()}

    def active(self) -> list[ServedModel]:
        """Return what answers requests now."""
        return [served for served in self._models.values() if served is not None]

    def watched(self) -> tuple[WatchedCounts, ...]:
        """Return what is known without labels of what answers requests now."""
        return tuple(served.watch.watched() for served in self.active() if served.watch is not None)

    def in_use(self) -> list[ServedModel]:
        """Return what is active, and what was and still computes."""
        with self._changing:
            return list(self._alive)

    @property
    def ready(self) -> bool:
        """Whether there are models, and each has answered a golden sample."""
        models = self._models
        return bool(models) and all(served is not None for served in models.values())

    def snapshot(self) -> tuple[CounterSnapshot, ...]:
        """Return the counters of everything that was active since the process started."""
        with self._changing:
            counters = tuple(self._counters.values())
        return tuple(c.snapshot() for c in counters)

    def _serve(self, models: dict[str, ServedModel | None]) -> None:
        """Serve these, and retire what is not among them any more."""
        before, self._models = self._models, models
        for name, served in before.items():
            if served is not None and models.get(name) is not served:
                served.retire()

    def _compatible(self, shadow: Shadow | None, served: ServedModel) -> Shadow | None:
        """Return the shadow if it can go on beside what is swapped in."""
        if shadow is None:
            return None
        reason = incompatibility(served.manifest, shadow.candidate.manifest)
        if reason is not None:
            _log.warning("shadow sees nothing any more model=%s reason=%s", served.name, reason)
            return None
        return shadow
