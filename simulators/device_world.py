"""A device without network, engines or HTTP server: real state folder, journal, steps, shelf and spool underneath.

`Points` counts everything that becomes durable or visible and can end the process at any of them: raising `PowerLoss`
there and making a new `DeviceWorld` over the same folder is what a SIGKILL at that moment leaves behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import Manifest
from edgemm.canonical import sha256
from edgemm.errors import EngineError, EnvironmentFailure, SelfTestError, SelfTestTimeoutError
from edgemm.messages import DesiredModel, Stream
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.documents import Installed, ModelFile, Transition
from edgemm_runtime.agent.state.shelf import Shelf
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.journal import Journal
from edgemm_runtime.agent.update.steps import Box, Steps, Tools
from edgemm_runtime.agent.update.updater import Updater
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import CounterSnapshot
from simulators.models import make_manifest


class PowerLoss(BaseException):
    """The process ends here."""


class Points:
    """Counts points; raises `PowerLoss` at number `last`, or at the first one called `name` that follows `arm`."""

    def __init__(self, last: int | None = None, *, name: str | None = None) -> None:
        self.names: list[str] = []
        self._last, self._name, self._armed = last, name, False

    def arm(self) -> None:
        self._armed = True

    def pass_by(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self._last or (self._armed and name == self._name):
            raise PowerLoss(name)


class Versions:
    """Published versions of the model `tiny`, each a real manifest with its blobs."""

    def __init__(self, *versions: str) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.blobs: dict[str, bytes] = {}
        for seed, version in enumerate(versions):
            manifest, blobs = make_manifest(version=version, seed=seed, variants=("tflite:float32",))
            self.manifests[version] = manifest
            self.blobs |= blobs

    def digest(self, version: str) -> str:
        return sha256(self.manifests[version].encode())

    def wanted(self, version: str, *, attempt: int = 1, **fields: Any) -> DesiredModel:
        given: dict[str, Any] = {"name": "tiny", "version": version, "digest": self.digest(version), "attempt": attempt}
        return DesiredModel(**given | fields)

    def manifest(self, wanted: DesiredModel) -> tuple[Manifest, bytes]:
        manifest = self.manifests[wanted.version]
        return manifest, manifest.encode()


class FakeHost:
    """A `ModelHost` that answers with the digest of what serves; `broken` cannot be loaded, `wrong` answers wrongly."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.active: dict[str, Installed] = {}
        self.seen: dict[str, tuple[str, Installed]] = {}
        self.expected: set[str] = set()
        """Names for which requests are told "not ready", and not "unknown"."""
        self.broken: set[str] = set()
        self.wrong: set[str] = set()
        self.failures: dict[str, list[Exception]] = {}
        """What loading a digest ends in, one after another, before it works."""
        self.figures: dict[str, tuple[int, int]] = {}
        """(requests, errors) by digest."""
        self.sizes: dict[str, tuple[int, int]] = {}
        """(requests, those of a size that cannot be computed) by digest."""
        self.on_check: Callable[[], object] = lambda: None

    def serving(self, name: str) -> tuple[str, str] | None:
        found = self.active.get(name)
        return (found.digest, found.variant) if found else None

    def activate(self, name: str, installed: Installed, source: BundleSource) -> None:
        for digest in source.manifest.blobs_for(installed.variant):
            source.read(digest)
        if installed.digest in self.broken:
            raise EngineError("cannot be loaded")
        if failures := self.failures.get(installed.digest):
            raise failures.pop(0)
        self.points.pass_by("before swap")
        self.active[name] = installed
        self.seen[installed.digest] = name, installed
        self.expected.discard(name)
        self.points.pass_by("after swap")

    def suspend(self, name: str) -> None:
        self.active.pop(name, None)
        self.expected.add(name)
        self.points.pass_by("after suspending")

    def deactivate(self, name: str) -> None:
        self.active.pop(name, None)
        self.expected.discard(name)
        self.points.pass_by("after taking out")

    def check(
        self,
        name: str,
        source: BundleSource,  # noqa: ARG002 - the host's signature
        *,
        answered: Callable[[], None],  # noqa: ARG002 - the same
    ) -> None:
        self.on_check()
        if self.active[name].digest in self.wrong:
            raise SelfTestError("golden sample 0 is wrong")

    def snapshot(self) -> Sequence[CounterSnapshot]:
        self.seen.update({one.digest: (name, one) for name, one in self.active.items()})
        return [self._counters(name, one) for name, one in self.seen.values()]

    def _counters(self, name: str, one: Installed) -> CounterSnapshot:
        key = ServedKey(name, one.version, one.digest, one.variant)
        requests, errors = self.figures.get(one.digest, (0, 0))
        answered, refused = self.sizes.get(one.digest, (0, 0))
        total = requests + answered
        return CounterSnapshot(key, total, errors, 0.0, (total,), uncomputable=refused)


class _Store:
    """The state folder's records, with points around each write; `full` is a full disk."""

    def __init__(self, folder: StateFolder, points: Points) -> None:
        self.folder, self.points, self.full = folder, points, False

    def write_model(self, record: ModelFile) -> None:
        state = machine.state(record)
        self.points.pass_by(f"before writing {state}")
        if self.full:
            raise EnvironmentFailure("cannot write: No space left on device")
        self.folder.write_model(record)
        self.points.pass_by(f"after writing {state}")


class DeviceWorld:
    """One life of the agent over a folder, driven step by step in the caller's thread."""

    def __init__(self, path: Path, versions: Versions, *, boot: int = 1, points: Points | None = None) -> None:
        self.points = points or Points()
        self.versions = versions
        self.folder = StateFolder(path)
        self.shelf = Shelf(self.folder)
        self.host = FakeHost(self.points)
        self.store = _Store(self.folder, self.points)
        settings = SpoolSettings(boot=f"{boot:016x}", boot_count=boot, max_bytes=1024 * 1024)
        self.spool = Spool(self.folder.path("spool.sqlite"), settings)
        self.disk_bytes, self.spool_growth_bytes = 10**9, 0
        self.selftest_failures: set[str] = set()
        self.selftest_timeouts: set[str] = set()
        self.engines: dict[str, str] = {Engine.TFLITE: "2.0"}
        self.elapsed_s, self.tick_s = 0.0, 0.5
        limits = AgentLimits(backoff_first_s=0.0, reserve_bytes=0)
        tools = Tools(
            manifests=versions,
            blobs=self,
            shelf=self.shelf,
            selftest=self._selftest,
            host=self.host,
            box=Box(lambda: self.engines, lambda: 10**10, lambda: self.disk_bytes, lambda: self.spool_growth_bytes),
            clock=Clock(monotonic=self._tick),
            limits=limits,
            prune=self._prune,
        )
        journal = Journal(self.store, tell=self._tell)
        record = self.folder.read_models().get("tiny", ModelFile(name="tiny"))
        self.updater = Updater(record, Steps(tools), journal, changing=threading.RLock(), changed=lambda: None)

    @property
    def record(self) -> ModelFile:
        return self.updater.record

    def close(self) -> None:
        """Let go of the folder, as the kernel does when a process ends."""
        self.spool.close()
        self.folder.close()

    def settle(self) -> None:
        """Work until nothing more is to be done."""
        while self.updater.work():
            pass

    def serves(self) -> str | None:
        """Return the version that answers a request now."""
        found = self.host.active.get("tiny")
        return found.version if found else None

    def told_states(self) -> list[str]:
        """Return the states that events in the spool tell, in order."""
        return [m.body.decode() for m in self.spool.after(0, limit=1000)]

    def missing_bytes(self, digest: str, size: int) -> int:
        return 0 if self.shelf.blobs.has(digest) else size

    def fetch(self, digest: str, size: int, *, check: Callable[[], None]) -> None:  # noqa: ARG002 - the same
        check()
        self.points.pass_by("before a blob")
        self.shelf.blobs.write(digest, [self.versions.blobs[digest]])
        self.points.pass_by("after a blob")

    def _selftest(self, installed: Installed) -> None:
        self.points.pass_by("self-test")
        if installed.version in self.selftest_failures:
            raise SelfTestError("golden sample 0 is wrong")
        if installed.version in self.selftest_timeouts:
            raise SelfTestTimeoutError("did not end within 120 s and was killed")

    def _prune(self) -> int:
        self.points.pass_by("before pruning")
        freed = self.shelf.prune(machine.keeps(self.record))
        self.points.pass_by("after pruning")
        return freed

    def _tell(self, name: str, told: Transition) -> bool:
        self.points.pass_by("before spooling")
        sequence = self.spool.next_sequence(Stream.EVENT)
        body = (told.to_state or told.cause).encode()
        known = self.spool.add_once(Stream.EVENT, body, sequence=sequence, source=name, serial=told.serial)
        self.points.pass_by("after spooling")
        return known

    def _tick(self) -> float:
        self.elapsed_s += self.tick_s
        return self.elapsed_s
