"""The loading and unloading of models while the process runs, from bundle files, when a person or a program asks.

    loader = Loader(registry, {"tiny": Path("tiny-1.0.0.edgemm")}, policy=AUTO)
    loader.unload("tiny")
    loader.load("tiny")      # from the file as it is now

Only models that the process was started with can be loaded, each from its own path. A model that is loaded first
answers all its golden samples in a child process, and then one of them in this one. Until then, and on every error, the
model that served before goes on. Nothing is written: the next start serves what the command line names.

A model may still hang in this process, and a thread inside native code cannot be ended. A load that does not end in
time is refused, its thread is left behind, and what it may still make is dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from edgemm.bundle import open_bundle
from edgemm.errors import ConflictError, EdgemmError, NotFoundError
from edgemm_runtime.engines import available, selftest
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.engines.choice import Policy, choose
from edgemm_runtime.models.registry import ModelRegistry, PreparedModel

_log = logging.getLogger(__name__)
_SELFTEST_S = 120.0
_LOAD_S = 180.0


class Loader:
    """Loads and unloads the models of one registry; one at a time, from any thread."""

    def __init__(self, models: ModelRegistry, paths: Mapping[str, Path], *, policy: Policy) -> None:
        self._models, self._paths, self._policy = models, dict(paths), policy
        self._changing = threading.Lock()

    def load(self, name: str) -> None:
        """Serve a model from its bundle file; where it is served already, swap in what the file is now.

        Raises:
            NotFoundError: the process was not started with such a model.
            ConflictError: the file cannot be served, or not within 180 s; what served before serves on.
        """
        path = self._path(name)
        with self._changing:
            try:
                self._models.swap_in(_Attempt(partial(self._prepare, name, path)).within(_LOAD_S))
            except (EdgemmError, OSError, MemoryError) as err:
                kept = " and what served before serves on" if name in self._models.versions() else ""
                reason = str(err) or type(err).__name__
                raise ConflictError(f"model {name!r} cannot be loaded{kept}: {reason}") from err

    def unload(self, name: str) -> None:
        """Take a model out of serving and free its memory once its last request has ended; twice is once.

        Raises:
            NotFoundError: the process was not started with such a model.
            UnavailableError: it is expected but not active yet.
        """
        self._path(name)
        with self._changing:
            if name not in self._models.unloaded():
                self._models.unload(name, "unloaded")

    def _path(self, name: str) -> Path:
        try:
            return self._paths[name]
        except KeyError as err:
            known = ", ".join(sorted(self._paths))
            raise NotFoundError(
                f"no model {name[:80]!r} was named when the server was started; named: {known}"
            ) from err

    def _prepare(self, name: str, path: Path) -> PreparedModel:
        with open_bundle(path) as bundle:
            found = bundle.manifest.name
            if found != name:
                raise ConflictError(f"{path}: expected a bundle of {name}, found one of {found}")
            variant = choose(bundle.manifest, policy=self._policy, engines=available()).require()
            selftest.run_in_child(BundleFile(path), variant.id, timeout_s=_SELFTEST_S)
            return self._models.prepare(name, bundle, variant)


class _Attempt(threading.Thread):
    """Prepares a model in a thread of its own, which may be left behind."""

    def __init__(self, prepare: Callable[[], PreparedModel]) -> None:
        super().__init__(name="edgemm-load", daemon=True)
        self._prepare = prepare
        self._found: PreparedModel | None = None
        self._error: EdgemmError | OSError | MemoryError | None = None

    def run(self) -> None:
        """Prepare it, or keep why not."""
        try:
            self._found = self._prepare()
        except (EdgemmError, OSError, MemoryError) as err:
            self._error = err

    def within(self, limit_s: float) -> PreparedModel:
        """Start, and return the model.

        Raises:
            TimeoutError: it did not end in time.
        """
        self.start()
        self.join(limit_s)
        if self.is_alive():
            _log.error("thread left behind in a model that does not load limit_s=%g", limit_s)
            raise TimeoutError(
                f"it did not end within {limit_s:g} s and was given up: mend the file, then restart the server, "
                "which frees what the model holds"
            )
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # in a circle with its traceback, what was half made would wait for a collection of garbage
        if self._found is None:
            raise RuntimeError("the thread that loads ended early: its traceback is on stderr")
        return self._found
