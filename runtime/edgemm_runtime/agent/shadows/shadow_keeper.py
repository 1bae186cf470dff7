"""The shadow keeper: a thread that downloads, checks, runs and ends the shadows that the fleet wants.

A shadow is fetched and checked as any bundle is. Nothing that happens here touches the models that serve. A shadow that
cannot be fetched or run is told in `reported`, and tried again after a while if the reason may pass. The wanted shadows
are part of `desired.json`, so that nothing is kept here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from edgemm import requirements
from edgemm.errors import EdgemmError, InputError, NotFoundError, UnavailableError
from edgemm.messages import DesiredShadow, ReportedShadow, ShadowPhase
from edgemm.reasons import Reason
from edgemm_runtime.agent.shadows import shadow_plan
from edgemm_runtime.agent.shadows.shadow_plan import ShadowSituation, ShadowStep
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.state.shelf import Shelf
from edgemm_runtime.agent.update import events
from edgemm_runtime.agent.update.machine import Step
from edgemm_runtime.agent.update.steps import Interrupted, Steps
from edgemm_runtime.shadow.running import ShadowStatus
from edgemm_runtime.shadow.shadow import ShadowCandidate, ShadowState

_log = logging.getLogger(__name__)
_AGAIN_S = 60.0
"""Pause before what may pass is tried again; `Steps` were patient before."""
_MAX_DETAIL = 1000
_MAY_PASS = frozenset({Reason.UNREACHABLE, Reason.EXPIRED, Reason.NO_SPACE, Reason.NO_MEMORY, Reason.NOT_READY})
_PHASES = {
    ShadowState.STARTING: ShadowPhase.STARTING,
    ShadowState.RUNNING: ShadowPhase.RUNNING,
    ShadowState.FAILED: ShadowPhase.FAILED,
    ShadowState.STOPPED: ShadowPhase.WAITING,
}


class ShadowHost(Protocol):
    """What runs shadows; `hosting.RegistryHost` in a device."""

    def run_shadow(self, candidate: ShadowCandidate) -> None:
        """Run a candidate beside the active model of its name.

        Raises:
            NotFoundError: no such model is served.
            UnavailableError: it is not active now.
            InputError: the candidate cannot answer its requests.
        """

    def end_shadow(self, name: str) -> None:
        """End the shadow beside a model, if there is one."""

    def shadows(self) -> Sequence[ShadowStatus]:
        """Return where each shadow stands."""


class ShadowKeeper:
    """Works towards the shadows that are wanted from `start` to `stop`; `records` returns where each model stands."""

    def __init__(
        self, steps: Steps, shelf: Shelf, host: ShadowHost, *, records: Callable[[], Iterable[ModelFile]]
    ) -> None:
        self._steps, self._shelf, self._host, self._records = steps, shelf, host, records
        self._wanted: Mapping[str, DesiredShadow] = {}
        self._runs: dict[str, DesiredShadow] = {}
        self._told: dict[str, ReportedShadow] = {}
        self._failed: dict[str, DesiredShadow] = {}
        self._stopping = False
        self._wake, self._interrupt = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgemm-shadows", daemon=True)

    @property
    def wanted(self) -> Mapping[str, DesiredShadow]:
        """What is wanted beside which model."""
        return self._wanted

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def want(self, wanted: Mapping[str, DesiredShadow]) -> None:
        """Say what the fleet wants now, by model; every other shadow is ended."""
        if wanted != self._wanted:
            self._wanted = dict(wanted)
            self._interrupt.set()
            self._wake.set()

    def changed(self) -> None:
        """Note that a model's update went on."""
        if shadow_plan.room_is_wanted(self._records()):
            self._interrupt.set()
        self._wake.set()

    def reported(self) -> dict[str, ReportedShadow]:
        """Return where the device stands with each shadow that is wanted."""
        running = {status.candidate.key.name: status for status in self._host.shadows()}
        return {name: self._report(name, wanted, running.get(name)) for name, wanted in self._wanted.items()}

    def stop(self, timeout_s: float) -> None:
        """End the thread and every shadow."""
        self._stopping = True
        self._interrupt.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        for name in list(self._runs):
            self._host.end_shadow(name)

    def _report(self, name: str, wanted: DesiredShadow, status: ShadowStatus | None) -> ReportedShadow:
        if status is None or self._runs.get(name) != wanted:
            known = self._told.get(name)
            if known is not None and known.digest == wanted.digest:
                return known
            return ReportedShadow(digest=wanted.digest, version=wanted.version, phase=ShadowPhase.WAITING)
        failed = status.state is ShadowState.FAILED
        return ReportedShadow(
            digest=wanted.digest,
            version=wanted.version,
            phase=_PHASES[status.state],
            reason=Reason.NOT_RUNNING if failed else None,
            detail=status.reason[:_MAX_DETAIL] or None,
        )

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._interrupt.clear()
            for name in {*self._wanted, *self._runs, *self._told}:
                if not self._stopping:
                    self._work(name)
            if not self._wake.wait(_AGAIN_S if self._may_pass() else None):
                self._failed = {name: one for name, one in self._failed.items() if not self._passes(name)}

    def _work(self, name: str) -> None:
        records = {record.name: record for record in self._records()}
        wanted = self._wanted.get(name)
        situation = ShadowSituation(
            records.get(name),
            wanted,
            runs=self._runs.get(name),
            failed=self._failed.get(name),
            room_is_wanted=shadow_plan.room_is_wanted(records.values()),
        )
        match shadow_plan.step(situation):
            case ShadowStep.END:
                self._end(name)
                if wanted is not None:
                    self._wake.set()
            case ShadowStep.WAIT if wanted is not None:
                self._tell(name, wanted, ShadowPhase.WAITING)
            case ShadowStep.BRING if wanted is not None:
                self._bring(name, wanted)
            case _:
                pass

    def _end(self, name: str) -> None:
        self._host.end_shadow(name)
        for kept in (self._runs, self._told, self._failed):
            kept.pop(name, None)

    def _bring(self, name: str, wanted: DesiredShadow) -> None:
        self._tell(name, wanted, ShadowPhase.FETCHING)
        try:
            trouble = self._fetch_and_run(name, wanted)
        except Interrupted:
            self._wake.set()
            return
        except (NotFoundError, UnavailableError) as err:
            trouble = events.Trouble(Reason.NOT_READY, str(err))
        except InputError as err:
            trouble = events.Trouble(Reason.INCOMPATIBLE, str(err))
        except (EdgemmError, OSError) as err:
            trouble = events.Trouble(Reason.INTERNAL_ERROR, str(err))
        except Exception as err:  # noqa: BLE001 - a thread's boundary: the shadow fails, nothing else does
            _log.exception("shadow failed model=%s version=%s", name, wanted.version)
            trouble = events.Trouble(Reason.INTERNAL_ERROR, f"{type(err).__name__}: {err}")
        if trouble is not None:
            self._failed[name] = wanted
            self._tell(name, wanted, ShadowPhase.FAILED, trouble)

    def _fetch_and_run(self, name: str, wanted: DesiredShadow) -> events.Trouble | None:
        """Have the bytes here, then run them; return what kept it from that."""
        if wanted.unknown:
            return events.Trouble(Reason.UNSUPPORTED, requirements.refusal(wanted.unknown))
        prepared = self._steps.take(Step.PREPARE, shadow_plan.install(name, wanted), self._interrupt)
        if not isinstance(prepared, events.Prepared):
            return _trouble(prepared)
        record = shadow_plan.install(name, wanted, variant=prepared.variant)
        fetched = self._steps.take(Step.FETCH, record, self._interrupt)
        if not isinstance(fetched, events.Fetched):
            return _trouble(fetched)
        self._host.run_shadow(
            ShadowCandidate(
                manifest=self._shelf.manifest(wanted.digest),
                digest=wanted.digest,
                location=self._shelf.location(wanted.digest),
                variant_id=prepared.variant,
                share=wanted.share,
            )
        )
        self._runs[name] = wanted
        return None

    def _tell(
        self, name: str, wanted: DesiredShadow, phase: ShadowPhase, trouble: events.Trouble | None = None
    ) -> None:
        self._told[name] = ReportedShadow(
            digest=wanted.digest,
            version=wanted.version,
            phase=phase,
            reason=trouble.reason if trouble else None,
            detail=trouble.detail[:_MAX_DETAIL] if trouble else None,
        )
        if trouble is not None:
            _log.error("shadow not run model=%s version=%s reason=%s detail=%s", name, wanted.version,
                       trouble.reason, trouble.detail)  # fmt: skip

    def _passes(self, name: str) -> bool:
        told = self._told.get(name)
        return told is not None and told.reason in _MAY_PASS

    def _may_pass(self) -> bool:
        return any(self._passes(name) for name in self._failed)


def _trouble(event: events.Event | None) -> events.Trouble:
    return event if isinstance(event, events.Trouble) else events.Trouble(Reason.INTERNAL_ERROR, repr(event))
