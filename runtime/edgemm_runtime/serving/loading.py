"""Models in and out of serving while the process runs: from bundle files, when a person or a program asks.

    loader = Loader(registry, {"tiny": Path("tiny-1.0.0.edgemm")}, policy=AUTO)
    loader.unload("tiny")
    loader.load("tiny")      # from the file as it is now

Only what the process was started with can be loaded, each from its own path. What is loaded answers all its golden
samples in a child process first, and one of them in this one; until then, and on every error, what served before
serves on. Nothing is written: the next start serves what the command line names.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from edgemm.bundle import open_bundle
from edgemm.errors import ConflictError, EdgemmError, NotFoundError
from edgemm_runtime.engines import available, selftest
from edgemm_runtime.engines.choice import Policy, choose
from edgemm_runtime.engines.source import BundleFile
from edgemm_runtime.serving.registry import ModelRegistry

_SELFTEST_S = 120.0


class Loader:
    """Loads and unloads the models of one registry; one at a time, from any thread."""

    def __init__(self, models: ModelRegistry, paths: Mapping[str, Path], *, policy: Policy) -> None:
        self._models, self._paths, self._policy = models, dict(paths), policy
        self._changing = threading.Lock()

    def load(self, name: str) -> None:
        """Serve a model from its bundle file; where it is served already, swap in what the file is now.

        Raises:
            NotFoundError: the process was not started with such a model.
            ConflictError: the file cannot be served; what served before serves on.
        """
        path = self._path(name)
        with self._changing:
            try:
                self._load(name, path)
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

    def _load(self, name: str, path: Path) -> None:
        with open_bundle(path) as bundle:
            found = bundle.manifest.name
            if found != name:
                raise ConflictError(f"{path}: expected a bundle of {name}, found one of {found}")
            variant = choose(bundle.manifest, policy=self._policy, engines=available()).require()
            selftest.run_in_child(BundleFile(path), variant.id, timeout_s=_SELFTEST_S)
            self._models.activate(name, bundle, variant)
