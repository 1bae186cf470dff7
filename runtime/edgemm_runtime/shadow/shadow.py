"""One shadow: samples the active model's answers, and has a process of its own answer the same requests again.

`offer` is called for every request, in the thread that answers it, after the active model did. It counts down to the
next sample, copies that, and never waits. Everything else happens in a thread that feeds the process in bursts, with
pauses that bound its share of the machine. Whatever becomes of the shadow, requests are not affected.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum

from edgemm.bundle.manifest import Manifest
from edgemm.errors import EngineError
from edgemm_runtime.board.sysfs import Sysfs
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.shadow.sampling import Gaps
from edgemm_runtime.shadow.shadow_limits import DEFAULT_SHARE, ShadowLimits
from edgemm_runtime.shadow.shadow_process import ShadowLostError, ShadowProcess
from edgemm_runtime.shadow.shadow_protocol import Sample, pack
from edgemm_runtime.shadow.tally import ShadowTally
from edgemm_runtime.tensors.element_types import size_of
from edgemm_runtime.tensors.named_arrays import Arrays

_log = logging.getLogger(__name__)


class ShadowState(StrEnum):
    """Where a shadow stands."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class ShadowCandidate:
    """What runs as a shadow: a variant of a bundle on this machine, and the share of requests that it sees."""

    manifest: Manifest
    digest: str
    location: BundleFile | StoredBundle
    variant_id: str
    share: float = DEFAULT_SHARE
    seed: int | None = field(default=None, compare=False)
    """Chooses which requests are sampled; None: others each time."""

    @property
    def key(self) -> ServedKey:
        """What its counters are kept by."""
        return ServedKey(self.manifest.name, self.manifest.version, self.digest, self.variant_id)

    def __str__(self) -> str:
        return f"{self.manifest.name} {self.manifest.version} ({self.variant_id})"


class Shadow:
    """Runs from the moment it is made until `end`; `tally` returns the counters beside an active model."""

    def __init__(
        self, candidate: ShadowCandidate, limits: ShadowLimits, *, tally: Callable[[ServedKey], ShadowTally]
    ) -> None:
        self.candidate = candidate
        self.state, self.reason = ShadowState.STARTING, ""
        self.ranges: Mapping[str, float] = {}
        self._limits, self._tally = limits, tally
        self._gaps = Gaps(candidate.share, seed=candidate.seed)
        self._left = self._gaps.draw()
        self._current: ShadowTally | None = None
        self._lock = threading.Lock()
        self._waiting: deque[tuple[ShadowTally, Sample]] = deque()
        self._waiting_bytes, self._open = 0, True
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._process: ShadowProcess | None = None
        self._crashes_in_a_row, self._asking = 0, False
        self._thread = threading.Thread(target=self._run, name=f"edgemm-shadow-{candidate.key.name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Its process id, while it has a process."""
        process = self._process
        return process.pid if process else None

    @property
    def asking(self) -> bool:
        """Whether its process computes a burst now."""
        return self._asking

    def offer(self, of: ServedKey, inputs: Arrays, outputs: Arrays) -> None:
        """Show one request and the answer of the active model `of`; most are passed over at once."""
        # Threads that count down at a time may lose a step: the share is then a hair smaller, and nothing waits.
        if self._left > 0:
            self._left -= 1
            return
        self._left = self._gaps.draw()
        tally = self._current
        if tally is None or tally.key.active is not of:
            tally = self._current = self._tally(of)
        self._take(tally, inputs, outputs)

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left: no process, no pipe, no thread."""
        return not self._thread.is_alive()

    def end(self) -> None:
        """Kill its process and return at once; what waits is dropped. It is `gone` soon, which `join` waits for."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.kill()

    def join(self, timeout_s: float) -> None:
        """Wait until it is gone."""
        self._thread.join(timeout_s)

    def _take(self, tally: ShadowTally, inputs: Arrays, outputs: Arrays) -> None:
        if len(self._waiting) >= self._limits.burst_samples:  # the usual case under load: nothing is copied
            tally.sample(dropped=True)
            return
        size = sum(size_of(array) for arrays in (inputs, outputs) for array in arrays.values())
        with self._lock:
            fits = self._open and self._waiting_bytes + size <= self._limits.burst_bytes
            if fits:
                self._waiting.append((tally, Sample(pack(inputs), pack(outputs))))
                self._waiting_bytes += size
            first = len(self._waiting) == 1
        tally.sample(dropped=not fits)
        if fits and first:
            self._wake.set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._live_once()
        except EngineError as err:
            self._give_up(str(err))
        except Exception as err:  # noqa: BLE001 - the thread's boundary: whatever it is, requests do not see it
            _log.exception("shadow failed candidate=%s", self.candidate)
            self._give_up(f"{type(err).__name__}: {err}")
        else:
            self.state = ShadowState.STOPPED
        self._close()

    def _live_once(self) -> None:
        """Run one process until it is stopped or lost; after a loss, pause.

        Raises:
            EngineError: there is no use in another one.
        """
        try:
            self._live()
        except ShadowLostError as err:
            if self._stopping.is_set():
                return
            self.state, self.reason = ShadowState.STARTING, str(err)
            self._crashes_in_a_row += 1
            _log.warning("shadow lost candidate=%s crashes=%d error=%s", self.candidate, self._crashes_in_a_row, err)
            if self._crashes_in_a_row >= self._limits.max_crashes:
                raise
            self._stopping.wait(self._limits.restart_first_s * 2 ** (self._crashes_in_a_row - 1))

    def _live(self) -> None:
        candidate = self.candidate
        available = Sysfs().memory_bytes("MemAvailable")
        process = ShadowProcess(
            candidate.location,
            candidate.variant_id,
            timeout_s=self._limits.answer_timeout_s,
            load_timeout_s=self._limits.load_timeout_s,
            memory_bytes=None if available is None else int(available * self._limits.memory_share),
        )
        with closing(process):
            with self._lock:
                self._process = process
            try:
                self._feed(process)
            finally:
                with self._lock:
                    self._process = None

    def _feed(self, process: ShadowProcess) -> None:
        if self._stopping.is_set():  # before it was known to `end`
            return
        self.ranges = process.ready().ranges
        self.state = ShadowState.RUNNING
        _log.info("shadow runs candidate=%s", self.candidate)
        while (burst := self._next_burst()) is not None:
            begun_s = time.monotonic()
            cpu_s = self._ask(process, *burst)
            self._stopping.wait(self._limits.pause_s(time.monotonic() - begun_s, cpu_s=cpu_s))

    def _ask(self, process: ShadowProcess, tally: ShadowTally, samples: tuple[Sample, ...]) -> float:
        """Have a burst answered; return what it took of the CPU in seconds."""
        self._asking = True
        try:
            answer = process.ask(samples)
        except ShadowLostError:
            if self._stopping.is_set():
                tally.drop(len(samples))
            else:
                tally.crash(len(samples))
            raise
        finally:
            self._asking = False
        self._crashes_in_a_row = 0
        self.reason = answer.message
        tally.answered(answer)
        return answer.cpu_s

    def _next_burst(self) -> tuple[ShadowTally, tuple[Sample, ...]] | None:
        """Wait for samples that were answered by one active model; None where it is to stop."""
        self._wake.wait()
        if self._stopping.wait(self._limits.gather_s):
            return None
        with self._lock:
            tally, samples = self._waiting[0][0], []
            while self._waiting and self._waiting[0][0] is tally:
                samples.append(self._waiting.popleft()[1])
            self._waiting_bytes = sum(map(_size, self._waiting))
            if not self._waiting:
                self._wake.clear()
        return tally, tuple(samples)

    def _give_up(self, reason: str) -> None:
        _log.error("shadow given up candidate=%s error=%s", self.candidate, reason)
        self.state, self.reason = ShadowState.FAILED, reason

    def _close(self) -> None:
        """Take nothing more; drop what waits."""
        with self._lock:
            self._open = False
            waiting, self._waiting = self._waiting, deque()
        for tally, _ in waiting:
            tally.drop(1)


def _size(waiting: tuple[ShadowTally, Sample]) -> int:
    return sum(len(t.data) for tensors in (waiting[1].inputs, waiting[1].outputs) for t in tensors.values())
