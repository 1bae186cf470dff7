"""The steps of an update, one for each state: they act on network, disk, a child process and the serving process.

Every step may be cut short at any point and taken again. A step returns the event that it led to. It waits only on the
interrupt, so that a stop or another wish is obeyed at once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from edgemm.bundle.manifest import Manifest
from edgemm.durable import is_disk_full
from edgemm.errors import (
    BundleError,
    EdgemmError,
    EngineError,
    EngineUnavailableError,
    EnvironmentFailure,
    ExpiredError,
    InputError,
    NewerFormatError,
    PermissionDeniedError,
    ReplayError,
    SelfTestError,
    SelfTestTimeoutError,
    TrustError,
    UnreachableError,
    UnsupportedError,
    WithdrawnError,
)
from edgemm.messages import DesiredModel, VariantPolicy
from edgemm.reasons import Reason
from edgemm.transport.backoff import Backoff
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.documents import Installed, ModelFile
from edgemm_runtime.agent.state.shelf import Shelf
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.update import events, machine, trial
from edgemm_runtime.agent.update.disk import DiskSpace
from edgemm_runtime.agent.update.events import Event, Trouble
from edgemm_runtime.agent.update.host import ModelHost
from edgemm_runtime.agent.update.load_failures import may_pass
from edgemm_runtime.agent.update.machine import Step
from edgemm_runtime.engines.choice import AUTO, Choice, Policy, Resources, SkipReason, choose

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - no error: a stop, or another wish
    """The step under way is in vain now."""


class ManifestSource(Protocol):
    """Where trusted manifests come from; `TrustedVersions` in a device."""

    def manifest(self, wanted: DesiredModel) -> tuple[Manifest, bytes]:
        """Return the manifest and its bytes; raises as `TrustedVersions.manifest`."""


class BlobFetcher(Protocol):
    """Where blobs come from; `download.BlobDownloader` in a device."""

    def missing_bytes(self, digest: str, size: int) -> int:
        """Return how many bytes of a blob are still to be fetched."""

    def fetch(self, digest: str, size: int, *, check: Callable[[], None]) -> None:
        """Have a blob here; raises as `BlobDownloader.fetch`."""


class SelfTest(Protocol):
    """Runs the golden samples of an installed variant in a child process."""

    def __call__(self, installed: Installed) -> None:
        """Return if all came out right.

        Raises:
            SelfTestError: an answer is wrong, or the child crashed or hung.
            EngineUnavailableError: the engine is not here.
        """


@dataclass(frozen=True)
class Box:
    """What this machine has: engines with their versions, free memory and disk in bytes.

    `spool_bytes` is what the spool may still grow by.
    """

    engines: Callable[[], dict[str, str]]
    memory_bytes: Callable[[], int]
    disk_bytes: Callable[[], int]
    spool_bytes: Callable[[], int]


@dataclass(frozen=True)
class Tools:
    """Everything that steps act on."""

    manifests: ManifestSource
    blobs: BlobFetcher
    shelf: Shelf
    selftest: SelfTest
    host: ModelHost
    box: Box
    clock: Clock
    limits: AgentLimits
    prune: Callable[[], int]


class Steps:
    """Takes the steps of one model's updates."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        limits = tools.limits
        self._backoff = Backoff(limits.backoff_first_s, limits.backoff_max_s)

    def take(  # noqa: PLR0911 - a table
        self, step: Step, record: ModelFile, interrupt: threading.Event
    ) -> Event | None:
        """Do what a state asks for; None where nothing more follows.

        Raises:
            Interrupted: the interrupt was set meanwhile.
        """
        match step:
            case Step.PREPARE:
                return self._guarded(lambda: self._prepare(record), interrupt)
            case Step.FETCH:
                return self._guarded(lambda: self._fetch(record, interrupt), interrupt)
            case Step.SELF_TEST:
                return self._self_test(record)
            case Step.PROCEED:
                return events.Proceed()
            case Step.ACTIVATE:
                return self._activate(record) or events.Activated()
            case Step.WATCH:
                return self._activate(record) or self._watch(record, interrupt)
            case Step.ROLL_BACK:
                return self.serve_active(record, interrupt) or events.RolledBack()
            case Step.CLEAN_UP:
                return self._clean_up(record, interrupt)

    def serve_active(self, record: ModelFile, interrupt: threading.Event) -> events.Lost | None:
        """Let what is active answer requests, or nothing; tells if it cannot be loaded any more.

        A failure that may pass is tried again after a pause, and meanwhile nothing else answers: what is turned back
        must not, and the memory that it holds may be what is missing.

        Raises:
            Interrupted: the interrupt was set meanwhile.
        """
        name, active, host = record.name, record.active, self._tools.host
        if active is None:
            host.deactivate(name)
            return None
        if host.serving(name) is None:
            host.suspend(name)
        failures = 0
        while True:
            try:
                self._swap(name, active)
            except (EdgemmError, OSError, MemoryError) as err:
                failures += 1
                detail = str(err) or "out of memory"
                _log.error("active model cannot be loaded model=%s digest=%.12s error=%s", name, active.digest, detail)
                if failures >= self._tools.limits.load_tries or not may_pass(err):
                    return events.Lost(detail)
            else:
                return None
            host.suspend(name)
            self._pause(failures, interrupt)

    def _swap(self, name: str, installed: Installed) -> None:
        if self._tools.host.serving(name) != (installed.digest, installed.variant):
            self._tools.host.activate(name, installed, self._tools.shelf.source(installed.digest))

    def _prepare(self, record: ModelFile) -> Event:
        wanted = _target(record)
        manifest, data = self._tools.manifests.manifest(wanted)
        tools = self._tools
        missing = {d: tools.blobs.missing_bytes(d, blob.size) for d, blob in manifest.blobs.items()}
        present = [digest for digest, count in missing.items() if count == 0]
        choice = self._choose(manifest, wanted, present)
        if any(skipped.reason is SkipReason.NO_SPACE for skipped in choice.skipped) and tools.prune():
            choice = self._choose(manifest, wanted, present)
        if choice.variant is None:
            reasons = {skipped.reason for skipped in choice.skipped}
            reason = next(r for r in (SkipReason.NO_SPACE, SkipReason.NO_MEMORY, SkipReason.NO_ENGINE) if r in reasons)
            kept = self._space().told() if reason is SkipReason.NO_SPACE else ""
            return Trouble(Reason(reason.value), "; ".join(f"{s.variant} {s.detail}" for s in choice.skipped) + kept)
        tools.shelf.put_manifest(data)
        return events.Prepared(choice.variant.id)

    def _choose(self, manifest: Manifest, wanted: DesiredModel, present: list[str]) -> Choice:
        box = self._tools.box
        return choose(
            manifest,
            policy=_policy(wanted),
            engines=box.engines(),
            resources=Resources(memory_bytes=box.memory_bytes(), disk_bytes=self._space().available_bytes),
            present=present,
        )

    def _space(self) -> DiskSpace:
        box, limits = self._tools.box, self._tools.limits
        return DiskSpace(box.disk_bytes(), state_bytes=limits.reserve_bytes, spool_bytes=box.spool_bytes())

    def _fetch(self, record: ModelFile, interrupt: threading.Event) -> Event:
        installed, tools = _candidate(record), self._tools
        manifest = tools.shelf.manifest(installed.digest)
        sizes = {digest: manifest.blobs[digest].size for digest in manifest.blobs_for(installed.variant)}
        needed = sum(tools.blobs.missing_bytes(digest, size) for digest, size in sizes.items())
        space = self._space()
        if needed > space.available_bytes and tools.prune():
            space = self._space()
        if needed > (found := space.available_bytes):
            detail = f"{needed:,} bytes are needed, {found:,} are free: remove something{space.told()}"
            return Trouble(Reason.NO_SPACE, detail)
        for digest, size in sizes.items():
            tools.blobs.fetch(digest, size, check=lambda: _check(interrupt))
        tools.manifests.manifest(_target(record))  # that may have taken days: is it still offered?
        return events.Fetched()

    def _self_test(self, record: ModelFile) -> Event:
        try:
            self._tools.selftest(_candidate(record))
        except EngineUnavailableError as err:
            return Trouble(Reason.NO_ENGINE, str(err))
        except (SelfTestError, BundleError) as err:
            late = isinstance(err, SelfTestTimeoutError)
            return Trouble(Reason.SELFTEST_TIMEOUT if late else Reason.SELFTEST_FAILED, str(err))
        return events.SelfTested()

    def _activate(self, record: ModelFile) -> Trouble | None:
        try:
            self._swap(record.name, _candidate(record))
        except SelfTestError as err:
            return Trouble(Reason.SELFTEST_FAILED, str(err))
        except (EngineError, BundleError, InputError) as err:
            return Trouble(Reason.LOAD_FAILED, str(err))
        return None

    def _watch(self, record: ModelFile, interrupt: threading.Event) -> Event:
        installed, tools = _candidate(record), self._tools
        source = tools.shelf.source(installed.digest)
        watch = trial.Watch(
            tools.host, record.name, installed,
            old=record.active, source=source, clock=tools.clock, hang_s=tools.limits.hang_timeout_s,
        )  # fmt: skip
        ended = watch.run(_target(record).config.probation, interrupt)
        if ended is None:
            raise Interrupted
        return ended

    def _clean_up(self, record: ModelFile, interrupt: threading.Event) -> Event | None:
        lost = self.serve_active(record, interrupt)
        if lost is None:
            self._tools.prune()
        return lost

    def _guarded(self, attempt: Callable[[], Event], interrupt: threading.Event) -> Event:
        """Try until it works, the reason is final, or it has taken too long; pauses grow and are interruptible."""
        limits, clock = self._tools.limits, self._tools.clock
        begun, failures, wrong = clock.monotonic(), 0, 0
        while True:
            _check(interrupt)
            try:
                return attempt()
            except EdgemmError as err:
                failures += 1
                reason, patience = diagnose(err)
                wrong += patience is Patience.LITTLE
                _log.warning("step failed reason=%s failures=%d error=%s", reason, failures, err)
                final = patience is Patience.NONE or wrong >= limits.damaged_retries
                if final or clock.monotonic() - begun >= limits.download_give_up_s:
                    return Trouble(reason, str(err))
            self._pause(failures, interrupt)

    def _pause(self, failures: int, interrupt: threading.Event) -> None:
        pause = self._backoff.delay_s(failures, draw=random.random())  # noqa: S311 - spreads load, guards nothing
        if interrupt.wait(pause):
            raise Interrupted


class Patience(Enum):
    """How often a step that failed is tried again."""

    NONE = "the same can never work"
    LITTLE = "a few times: it may have been the transfer"
    LONG = "until too much time has passed: somebody else must come back first"


def diagnose(err: EdgemmError) -> tuple[Reason, Patience]:  # noqa: PLR0911 - a table
    """Return the reason code of what kept an update from going on, and how often to try again."""
    match err:
        case UnreachableError() | PermissionDeniedError():
            return Reason.UNREACHABLE, Patience.LONG
        case ExpiredError():
            return Reason.EXPIRED, Patience.LONG
        case ReplayError():
            return Reason.BELOW_MINIMUM_VERSION, Patience.NONE
        case WithdrawnError():
            return Reason.WITHDRAWN, Patience.NONE
        case TrustError():
            return Reason.UNTRUSTED, Patience.LITTLE
        case UnsupportedError():
            return Reason.UNSUPPORTED, Patience.NONE
        case NewerFormatError() | InputError() | EngineError():
            return Reason.NO_ENGINE, Patience.NONE
        case BundleError():
            return Reason.DAMAGED, Patience.LITTLE
        case EnvironmentFailure() if is_disk_full(err):
            return Reason.NO_SPACE, Patience.NONE
        case _:
            return Reason.UNREACHABLE, Patience.LITTLE


def _check(interrupt: threading.Event) -> None:
    if interrupt.is_set():
        raise Interrupted


def _policy(wanted: DesiredModel) -> Policy:
    """Return the order of variants; a policy that is not known here has been refused before."""
    return AUTO if isinstance(wanted.variants, VariantPolicy) else wanted.variants


def _target(record: ModelFile) -> DesiredModel:
    assert record.update is not None
    return record.update.target


def _candidate(record: ModelFile) -> Installed:
    installed = machine.candidate(record)
    assert installed is not None
    return installed
