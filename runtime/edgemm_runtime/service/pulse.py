"""The pulse of the served models: asks each for its first golden sample, with a time limit, past the counters.

A golden sample that waits for a CPU, or for requests that were first, is awaited: neither a busy machine nor a client
is a hang. Requests that take too long are the matter of `models.hangs`.

A thread that hangs in an engine cannot be ended. It is left behind, and no second one is started for the same loaded
model while it hangs, so a hung model costs one thread and not one a round.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from edgemm.errors import EdgemmError, NotFoundError, UnavailableError
from edgemm_runtime.board.thread_times import threads_seen
from edgemm_runtime.engines import golden, pool
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.engines.golden import Expectation
from edgemm_runtime.engines.hang_time import spent
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.model import Model
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.service.watchdog import Sign
from edgemm_runtime.tensors.named_arrays import Array, Arrays

_log = logging.getLogger(__name__)
Sources = Callable[[ServedKey], BundleSource]
"""Where the golden samples of what is served lie."""


class _Uncounted(msgspec.Struct, frozen=True):
    """A served model as a `LoadedModel`, past the counters."""

    model: Model

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Compute all outputs; see `LoadedModel`."""
        return self.model.predict(inputs)


class _Ask:
    """One golden sample on its way through one loaded model."""

    def __init__(self, served: ServedModel, expected: Expectation) -> None:
        self.served, self._expected = served, expected
        self.sign = Sign.LATE
        self._begun = threads_seen(time.monotonic())
        self._thread = threading.Thread(target=self._run, name="edgemm-pulse", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> Sign:
        """Return what came of it so far, after at most `timeout_s`."""
        self._thread.join(timeout_s)
        return Sign.ANSWERED if self.sign is Sign.LATE and self._had_no_turn() else self.sign

    @property
    def hangs(self) -> bool:
        """Whether it is still under way."""
        return self._thread.is_alive()

    def _had_no_turn(self) -> bool:
        """Tell whether it waits for requests that were first, or has had a CPU for less than half of its time."""
        ident, seen = self._thread.ident or 0, threads_seen(time.monotonic())
        had_s = spent(self._begun, seen, ident).had_s
        return pool.waits(ident) or had_s < (seen.now_s - self._begun.now_s) / 2

    def _run(self) -> None:
        name = self.served.name
        try:
            self._expected.check(_Uncounted(self.served.model.fresh()), samples=1)
        except UnavailableError:
            self.sign = Sign.BUSY
        except (EdgemmError, MemoryError) as err:
            _log.error("golden sample failed model=%s error=%s", name, str(err) or "out of memory")
            self.sign = Sign.FAILED
        except Exception:  # noqa: BLE001 - a thread's boundary: whatever an engine raises, the round has its sign
            _log.exception("golden sample failed model=%s", name)
            self.sign = Sign.FAILED
        else:
            self.sign = Sign.ANSWERED


class Pulse:
    """Looks at the models of one registry; used by one thread."""

    def __init__(self, models: ModelRegistry, sources: Sources) -> None:
        self._models, self._sources = models, sources
        self._expected: dict[ServedKey, Expectation] = {}
        self._answered: dict[ServedKey, int] = {}
        self._hanging: dict[str, _Ask] = {}

    def take(self, *, timeout_s: float) -> dict[str, Sign]:
        """Return a sign for each model, `NAME VERSION`; all together may take `timeout_s`."""
        signs: dict[str, Sign] = {}
        asked: dict[str, _Ask | None] = {}
        for name in self._models.names():
            try:
                served = self._models.get(name)
            except (NotFoundError, UnavailableError):
                signs[name] = Sign.STARTING
            else:
                asked[f"{name} {served.key.version}"] = self._ask(served)
        deadline_s = time.monotonic() + timeout_s
        for told, ask in asked.items():
            signs[told] = Sign.FAILED if ask is None else self._sign(ask, max(0.0, deadline_s - time.monotonic()))
        self._answered = self._answers()
        self._hanging = {ask.served.name: ask for ask in asked.values() if ask is not None and ask.hangs}
        self._expected = {key: kept for key, kept in self._expected.items() if key in self._keys()}
        return signs

    def unloaded(self) -> tuple[str, ...]:
        """Return the models that were taken out of serving."""
        return tuple(self._models.unloaded())

    def _ask(self, served: ServedModel) -> _Ask | None:
        hanging = self._hanging.get(served.name)
        if hanging is not None and hanging.served is served and hanging.hangs:
            return hanging
        try:
            if served.key not in self._expected:
                self._expected[served.key] = golden.expectation(self._sources(served.key), served.variant).first()
        except EdgemmError as err:
            _log.error("golden sample not read model=%s error=%s", served.name, err)
            return None
        return _Ask(served, self._expected[served.key])

    def _sign(self, ask: _Ask, timeout_s: float) -> Sign:
        """Wait for what came of it; one that found no room is no bad sign while others' requests are answered."""
        sign, key = ask.wait(timeout_s), ask.served.key
        if sign is Sign.BUSY and self._answers().get(key, 0) > self._answered.get(key, 0):
            return Sign.ANSWERED
        return sign

    def _answers(self) -> dict[ServedKey, int]:
        return {found.key: found.requests - found.errors for found in self._models.snapshot()}

    def _keys(self) -> set[ServedKey]:
        found = set()
        for name in self._models.names():
            try:
                found.add(self._models.get(name).key)
            except (NotFoundError, UnavailableError):
                continue
        return found
