"""When a shadow is fetched, run, kept waiting and ended, beside a model's own updates."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from edgemm.messages import DesiredModel, DesiredShadow
from edgemm.states import UpdateState
from edgemm_runtime.agent.shadows.shadow_plan import ShadowSituation, ShadowStep, room_is_wanted, step
from edgemm_runtime.agent.state.documents import Installed, ModelFile, Update

ACTIVE = Installed(digest="a" * 64, version="1.0.0", variant="tflite:float32")
SHADOW = DesiredShadow(version="2.0.0", digest="b" * 64)
OTHER = replace(SHADOW, share=0.5)


def model(state: UpdateState, *, active: Installed | None = ACTIVE) -> ModelFile:
    target = DesiredModel(name="tiny", version="1.0.0", digest="a" * 64)
    return ModelFile(name="tiny", update=Update(target=target, state=state), active=active)


SERVES = model(UpdateState.COMMITTED)
UPDATES = model(UpdateState.PROBATION)
CASES = {
    "wanted and nothing under way": (ShadowSituation(SERVES, SHADOW), ShadowStep.BRING),
    "it runs": (ShadowSituation(SERVES, SHADOW, runs=SHADOW), ShadowStep.KEEP),
    "it failed": (ShadowSituation(SERVES, SHADOW, failed=SHADOW), ShadowStep.KEEP),
    "another share is wanted than runs": (ShadowSituation(SERVES, OTHER, runs=SHADOW), ShadowStep.END),
    "another one failed": (ShadowSituation(SERVES, OTHER, failed=SHADOW), ShadowStep.BRING),
    "not wanted any more": (ShadowSituation(SERVES, None, runs=SHADOW), ShadowStep.END),
    "the model is on probation": (ShadowSituation(UPDATES, SHADOW), ShadowStep.WAIT),
    "an update begins while it runs": (ShadowSituation(UPDATES, SHADOW, runs=SHADOW), ShadowStep.END),
    "an update was turned back": (ShadowSituation(model(UpdateState.ROLLED_BACK), SHADOW), ShadowStep.BRING),
    "another model looks for room": (ShadowSituation(SERVES, SHADOW, room_is_wanted=True), ShadowStep.WAIT),
    "another model looks for room while it runs": (
        ShadowSituation(SERVES, SHADOW, runs=SHADOW, room_is_wanted=True),
        ShadowStep.KEEP,
    ),
    "nothing is active": (ShadowSituation(model(UpdateState.FAILED, active=None), SHADOW), ShadowStep.WAIT),
    "the model is unknown here": (ShadowSituation(None, SHADOW), ShadowStep.WAIT),
    "the model is stopped": (
        ShadowSituation(model(UpdateState.COMMITTED, active=None), SHADOW, runs=SHADOW),
        ShadowStep.END,
    ),
}


@pytest.mark.parametrize(("situation", "expected"), CASES.values(), ids=CASES.keys())
def test_updates_go_first(situation: ShadowSituation, expected: ShadowStep) -> None:
    assert step(situation) is expected


@pytest.mark.parametrize("state", list(UpdateState))
def test_an_update_looks_for_room_until_its_bytes_are_there(state: UpdateState) -> None:
    looks = state in {UpdateState.ACCEPTED, UpdateState.DOWNLOADING}
    assert room_is_wanted([SERVES, model(state)]) is looks
