"""The state machine of one model's update: (record, event) → the next record. Pure.

The record is written durably before it is acted on. The step to take follows from the state alone (`step`), so a step
that was cut short is simply taken again:

    accepted     PREPARE    trust, variant, space          rejected | failed | canceled
    downloading  FETCH      blobs                          …
    verified     SELF_TEST  golden samples in a child      …
    staged       PROCEED    the last moment for a halt     …
    activating   ACTIVATE   load beside the old, swap      rolling_back | failed
    probation    WATCH      on trial                       rolling_back | failed
    rolling_back ROLL_BACK  serve the old one again        rolled_back
    terminal     CLEAN_UP   serve what is active, prune

`active` changes at `committed` and nowhere else. After a loss of power before that point, the device serves the old
model, and after a later one the new model. An event that makes no sense in a state changes nothing: late and doubled
events are normal.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from msgspec.structs import replace

from edgemm import __version__, requirements
from edgemm.messages import DesiredModel
from edgemm.reasons import Reason
from edgemm.states import BEFORE_ACTIVATION, FAILURES, TERMINAL, UpdateState
from edgemm_runtime.agent.state.documents import Failure, Installed, ModelFile, Transition, Update
from edgemm_runtime.agent.update import events
from edgemm_runtime.agent.update.events import Event

MAX_POWER_LOSSES = 3
_MAX_FAILURES = 64
_MAX_DETAIL = 1000

_R = Reason
_UNWANTED = frozenset({_R.SUPERSEDED, _R.STOPPED})
_REJECTIONS = frozenset(
    {
        _R.NO_SPACE,
        _R.NO_ENGINE,
        _R.NO_MEMORY,
        _R.BELOW_MINIMUM_VERSION,
        _R.UNTRUSTED,
        _R.WITHDRAWN,
        _R.EXPIRED,
        _R.UNSUPPORTED,
    }
)


class Step(StrEnum):
    """What to do next; each may be repeated."""

    PREPARE = "prepare"
    FETCH = "fetch"
    SELF_TEST = "self_test"
    PROCEED = "proceed"
    ACTIVATE = "activate"
    WATCH = "watch"
    ROLL_BACK = "roll_back"
    CLEAN_UP = "clean_up"


_S = UpdateState
_STEPS = MappingProxyType(
    {
        _S.ACCEPTED: Step.PREPARE,
        _S.DOWNLOADING: Step.FETCH,
        _S.VERIFIED: Step.SELF_TEST,
        _S.STAGED: Step.PROCEED,
        _S.ACTIVATING: Step.ACTIVATE,
        _S.PROBATION: Step.WATCH,
        _S.ROLLING_BACK: Step.ROLL_BACK,
        **dict.fromkeys(TERMINAL, Step.CLEAN_UP),
    }
)


def step(record: ModelFile) -> Step | None:
    """Return what is to be done in the record's state; None where there never was an update."""
    return _STEPS.get(record.update.state) if record.update else None


def state(record: ModelFile) -> UpdateState:
    """Return where the model stands."""
    return record.update.state if record.update else _S.IDLE


def is_over(record: ModelFile) -> bool:
    """Tell whether nothing is under way."""
    return record.update is None or record.update.state in TERMINAL


def candidate(record: ModelFile) -> Installed | None:
    """Return what the update installs, once a variant is chosen."""
    update = record.update
    if update is None or update.variant is None:
        return None
    target = update.target
    return Installed(
        digest=target.digest, version=target.version, variant=update.variant, threads=target.config.threads
    )


def keeps(record: ModelFile) -> tuple[Installed, ...]:
    """Return what must stay on disk: active, previous and in flight."""
    in_flight = None if is_over(record) else candidate(record)
    return tuple(one for one in (record.active, record.previous, in_flight) if one is not None)


def interrupts(record: ModelFile, wanted: DesiredModel | None) -> bool:
    """Tell whether the step under way is in vain now that this is wanted (None: the model is unwanted)."""
    if record.update is None or state(record) not in BEFORE_ACTIVATION | {_S.PROBATION}:
        return False
    return wanted is None or not _same(record.update.target, wanted) or bool(wanted.unknown)


def decide(record: ModelFile, event: Event) -> ModelFile:  # noqa: PLR0911, PLR0912 - one line an event
    """Return the record after an event; its new transitions are at the end of `pending`."""
    now = state(record)
    match event:
        case events.Wanted(model):
            return _wanted(record, model)
        case events.Unwanted():
            return _unwanted(record)
        case events.Prepared(variant):
            return _advance(record, _S.ACCEPTED, _S.DOWNLOADING, variant=variant)
        case events.Fetched():
            return _advance(record, _S.DOWNLOADING, _S.VERIFIED)
        case events.SelfTested():
            return _advance(record, _S.VERIFIED, _S.STAGED)
        case events.Proceed():
            return _advance(record, _S.STAGED, _S.ACTIVATING)
        case events.Activated():
            return _advance(record, _S.ACTIVATING, _S.PROBATION)
        case events.Passed():
            return _commit(record) if now is _S.PROBATION else record
        case events.RolledBack():
            return _advance(record, _S.ROLLING_BACK, _S.ROLLED_BACK)
        case events.Trouble(reason, detail):
            return _trouble(record, reason, detail)
        case events.Restarted():
            return _restarted(record)
        case events.Stopping():
            return _stopping(record)
        case events.Lost(detail):
            return _lost(record, detail)
        case _:
            assert_never(event)


def _wanted(record: ModelFile, model: DesiredModel) -> ModelFile:
    update = record.update
    if update is not None and update.state not in TERMINAL:
        return _wanted_meanwhile(record, update, model)
    if model.unknown:
        if update is not None and update.target == model and update.reason == _R.UNSUPPORTED:
            return record
        return _unsupported(_enter(_fresh(record, model), _S.ACCEPTED))
    if _runs(record.active, model):
        return _adopt(record, model, _S.COMMITTED, cause=_R.ALREADY_ACTIVE)
    failure = next((f for f in record.failures if f.digest == model.digest), None)
    if failure is not None and failure.attempt >= model.attempt:
        found = failure.state if failure.state in FAILURES else _S.FAILED
        return _adopt(record, model, found, cause=_R.ALREADY_FAILED, failure=failure)
    return _enter(_fresh(record, model), _S.ACCEPTED)


def _wanted_meanwhile(record: ModelFile, update: Update, model: DesiredModel) -> ModelFile:
    """Take a wish while an update is under way."""
    if _same(update.target, model):
        told = record if update.target == model else replace(record, update=replace(update, target=model))
        return _unsupported(told) if model.unknown else told
    if update.state in BEFORE_ACTIVATION:
        return _wanted(_enter(record, _S.CANCELED, _R.SUPERSEDED), model)
    return _trouble(record, _R.SUPERSEDED, "") if update.state is _S.PROBATION else record


def _fresh(record: ModelFile, model: DesiredModel) -> ModelFile:
    return replace(record, update=Update(target=model, state=state(record)))


def _unsupported(record: ModelFile) -> ModelFile:
    """End an update that must not go on, for what restricts it is not known here; what is active goes on."""
    assert record.update is not None
    return _trouble(record, _R.UNSUPPORTED, requirements.refusal(record.update.target.unknown))


def _adopt(
    record: ModelFile, model: DesiredModel, found: UpdateState, *, cause: str, failure: Failure | None = None
) -> ModelFile:
    """Answer a wish that is fulfilled, or has failed, already: no step is taken again."""
    known = record.update
    if known is not None and _same(known.target, model) and known.state is found:
        return record if known.target == model else replace(record, update=replace(known, target=model))
    fresh = Update(
        target=model,
        state=found,
        reason=failure.reason if failure else None,
        detail=(failure.detail or None) if failure else None,
        variant=record.active.variant if record.active and failure is None else None,
    )
    return _tell(replace(record, update=fresh), model, cause=cause, to_state=found)


def _unwanted(record: ModelFile) -> ModelFile:
    now, update = state(record), record.update
    if update is None:
        return record
    if now is _S.PROBATION:
        return _trouble(record, _R.STOPPED, "")
    if now in BEFORE_ACTIVATION:
        return _unwanted(_enter(record, _S.CANCELED, _R.STOPPED))
    if now not in TERMINAL or record.active is None:
        return record
    stopped = replace(record, update=replace(update, reason=_R.STOPPED, detail=None), active=None, previous=None)
    return _tell(stopped, update.target, cause=_R.STOPPED)


def _advance(record: ModelFile, before: UpdateState, after: UpdateState, variant: str | None = None) -> ModelFile:
    """Go from `before` to `after`; a late or doubled event, which finds another state, changes nothing."""
    update = record.update
    if update is None or update.state is not before:
        return record
    if variant is not None:
        record = replace(record, update=replace(update, variant=variant))
    return _enter(record, after, update.reason, update.detail or "")


def _commit(record: ModelFile) -> ModelFile:
    installed = candidate(record)
    assert installed is not None
    before = record.active
    same = before is not None and (before.digest, before.variant) == (installed.digest, installed.variant)
    previous = record.previous if same else before
    failures = tuple(f for f in record.failures if f.digest != installed.digest)
    return _enter(replace(record, active=installed, previous=previous, failures=failures), _S.COMMITTED)


def _trouble(record: ModelFile, reason: Reason, detail: str) -> ModelFile:
    now = state(record)
    if now in TERMINAL or now in {_S.IDLE, _S.ROLLING_BACK}:
        return record
    if now in BEFORE_ACTIVATION:
        if reason in _UNWANTED:
            return _enter(record, _S.CANCELED, reason, detail)
        return _enter(record, _S.REJECTED if reason in _REJECTIONS else _S.FAILED, reason, detail)
    # A first install has nothing to roll back to: it ends failed, nothing active.
    return _enter(record, _S.ROLLING_BACK if record.active else _S.FAILED, reason, detail)


def _restarted(record: ModelFile) -> ModelFile:
    """Count and tell a loss of power between activation and commit; after the last attempt the old model stays.

    An update in a state that a later version of the agent wrote ends: nobody here knows what it waits for. So does one
    whose target a later version knew how to restrict: it must not go on before the fleet is heard again.
    """
    update = record.update
    if update is not None and not update.state.known:
        detail = f"was {update.state}, a state that edgemm {__version__} does not know: a later one was here before it"
        return _enter(record, _S.FAILED, _R.UNSUPPORTED, detail)
    if update is not None and update.target.unknown:
        return _unsupported(record)
    if update is None or update.state not in {_S.ACTIVATING, _S.PROBATION}:
        return record
    if update.stopped_cleanly:
        return replace(record, update=replace(update, stopped_cleanly=False))
    losses = update.power_losses + 1
    record = replace(record, update=replace(update, power_losses=losses))
    if losses < MAX_POWER_LOSSES:
        detail = f"{losses} of {MAX_POWER_LOSSES} between activation and commit"
        return _tell(record, update.target, cause=_R.POWER_LOST, detail=detail)
    return _trouble(record, _R.POWER_LOSS, f"power was lost {losses} times between activation and commit")


def _stopping(record: ModelFile) -> ModelFile:
    update = record.update
    if update is None or update.state not in {_S.ACTIVATING, _S.PROBATION}:
        return record
    return replace(record, update=replace(update, stopped_cleanly=True))


def _lost(record: ModelFile, detail: str) -> ModelFile:
    """Fall back to what was active before; the same version may be installed again."""
    lost = record.active
    if lost is None:
        return record
    fallen = replace(record, active=record.previous, previous=None)
    return _tell(fallen, lost, cause=_R.ACTIVE_LOST, detail=detail)


def _enter(record: ModelFile, after: UpdateState, reason: str | None = None, detail: str = "") -> ModelFile:
    """Change the state, tell the transition, and remember a failure."""
    update = record.update
    assert update is not None
    target, detail = update.target, detail[:_MAX_DETAIL]
    entered = replace(update, state=after, reason=reason, detail=detail or None, stopped_cleanly=False)
    failures = record.failures
    if after in FAILURES and reason not in _UNWANTED:
        failure = Failure(
            digest=target.digest, attempt=target.attempt, state=after, reason=reason or after.value, detail=detail
        )
        failures = (*(f for f in failures if f.digest != target.digest), failure)[-_MAX_FAILURES:]
    changed = replace(record, update=entered, failures=failures)
    cause = reason or after.value
    return _tell(changed, target, cause=cause, detail=detail, from_state=update.state, to_state=after)


def _tell(
    record: ModelFile,
    of: DesiredModel | Installed,
    *,
    cause: str,
    detail: str = "",
    from_state: UpdateState | None = None,
    to_state: UpdateState | None = None,
) -> ModelFile:
    """Add a transition to what is to be told."""
    told = Transition(
        serial=record.serial + 1,
        cause=cause,
        detail=detail[:_MAX_DETAIL],
        digest=of.digest,
        version=of.version,
        attempt=of.attempt if isinstance(of, DesiredModel) else None,
        rollout=of.rollout if isinstance(of, DesiredModel) else None,
        from_state=from_state,
        to_state=to_state,
    )
    return replace(record, serial=told.serial, pending=(*record.pending, told))


def _same(left: DesiredModel, right: DesiredModel) -> bool:
    return (left.digest, left.attempt) == (right.digest, right.attempt)


def _runs(active: Installed | None, model: DesiredModel) -> bool:
    """Tell whether what is active is what is wanted, in a variant that the policy names."""
    if active is None or active.digest != model.digest:
        return False
    return model.variants == "auto" or active.variant in model.variants
