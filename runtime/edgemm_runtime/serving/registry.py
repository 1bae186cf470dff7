"""Which models are served: name → the model that is active now.

A model is swapped in only after it answered a golden sample in this process. A request keeps the model that it
started on; the old one is freed when its last request has ended.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref

from edgemm.errors import BadRequestError, EngineError, NotFoundError, UnavailableError
from edgemm.manifest import Manifest, Variant
from edgemm_runtime.engines.model import Array, Arrays
from edgemm_runtime.engines.source import BundleSource
from edgemm_runtime.model import Model, load_variant
from edgemm_runtime.serving.counters import Counters, CounterSnapshot, ServedKey

_log = logging.getLogger(__name__)
_WEIGHT = 0.05


class ServedModel:
    """One active model under its name, with its counters; what asks `model` directly is not counted."""

    def __init__(self, name: str, model: Model, counters: Counters) -> None:
        self.name, self.model, self._counters = name, model, counters
        self._run = model.loaded.run
        self.usual_s = 0.0
        """How long requests take lately, in the model: a moving mean."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self.model.manifest

    @property
    def variant(self) -> Variant:
        """What runs."""
        return self.model.variant

    @property
    def key(self) -> ServedKey:
        """What its counters are kept by."""
        return self._counters.key

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Return all outputs, of arrays in the signature's dtypes and shapes; counts the request.

        Raises:
            BadRequestError: a name, dtype or shape is not the signature's (not counted: no fault of the model).
            EngineError: the engine failed.
        """
        start, failed, counted = time.perf_counter(), True, True
        try:
            outputs = self._run(inputs)
            failed = False
        except BadRequestError:
            counted = False
            raise
        except (EngineError, MemoryError) as err:
            raise EngineError(f"model {self.name} failed: {str(err) or 'out of memory'}") from err
        finally:
            if counted:
                took_s = time.perf_counter() - start
                self.usual_s += (took_s - self.usual_s) * (_WEIGHT if self.usual_s else 1.0)
                self._counters.add(took_s, failed=failed)
        return outputs

    def overdue(self, now_s: float) -> list[int]:
        """Return the threads in which the model hangs; `now_s` is monotonic."""
        return self.model.loaded.overdue(now_s)

    def give_up(self, thread: int, *, waited_s: float) -> None:
        """Count a hang, and do without what it holds of the model."""
        self.model.loaded.give_up(thread)
        self._counters.add_hang(waited_s)
        _log.error("inference hangs model=%s version=%s variant=%s", self.name, self.key.version, self.key.variant)


class ModelRegistry:
    """The served models of one process; reading takes no lock."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._models: dict[str, ServedModel | None] = {}
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
        manifest = source.manifest
        model = load_variant(source, variant, threads=threads)
        key = ServedKey(name, manifest.version, source.digest, variant.id)
        with self._changing:
            served = ServedModel(name, model, self._counters.setdefault(key, Counters(key)))
            self._models = {**self._models, name: served}
            self._alive.add(served)
        _log.info("activated model=%s version=%s variant=%s digest=%.12s", name, key.version, key.variant, key.digest)
        return served

    def deactivate(self, name: str) -> None:
        """Stop serving a model, if it is served; requests in flight end on it."""
        with self._changing:
            self._models = {other: served for other, served in self._models.items() if other != name}
        _log.info("deactivated model=%s", name)

    def get(self, name: str, *, version: str | None = None) -> ServedModel:
        """Return the active model.

        Raises:
            NotFoundError: no such model or version is served.
            UnavailableError: it is expected but not active yet.
        """
        models = self._models
        if name not in models:
            known = ", ".join(sorted(models)) or "none"
            raise NotFoundError(f"no model {name[:80]!r} is served here; served: {known}")
        served = models[name]
        if served is None:
            raise UnavailableError(f"model {name!r} is not ready yet: try again later")
        if version is not None and version != served.manifest.version:
            raise NotFoundError(f"model {name!r} serves version {served.manifest.version}, not {version[:80]!r}")
        return served

    def usual_s(self, name: str) -> float:
        """Return how long a model's requests take lately; 0 where it has not been asked, or is not active."""
        served = self._models.get(name)
        return served.usual_s if served is not None else 0.0

    def only(self) -> ServedModel:
        """Return the one model that is served.

        Raises:
            NotFoundError: there are several, or none.
        """
        names = self.names()
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise NotFoundError(f"expected the name of a model in the path; served: {known}")
        return self.get(names[0])

    def names(self) -> tuple[str, ...]:
        """Return the names of all models that are served or expected."""
        return tuple(sorted(self._models))

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
