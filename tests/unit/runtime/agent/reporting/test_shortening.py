"""However many models a device holds, its report fits into a control message and tells their states."""

from __future__ import annotations

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.messages import MAX_CONTROL_BYTES, ActionResult, DesiredModel, Reported, ReportedModel
from edgemm.states import UpdateState
from edgemm.trust.signing import PayloadType, seal, unseal
from edgemm_runtime.agent.reporting.reported import reported
from edgemm_runtime.agent.reporting.shortening import MAX_PAYLOAD_BYTES, shortened
from edgemm_runtime.agent.state.documents import Installed, ModelFile, Update
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.agent.state.trusted_time import TrustedTime

SIGNER = CryptoSigner.generate_ed25519()
WHO = Speaker("f" * 32, "d" * 63, "5e75f1c3b00c5237", 2**53 - 1)


def record(number: int, *, name_length: int = 20, detail: str = "12 of 40 requests failed") -> ModelFile:
    name = f"{number:03d}".ljust(name_length, "n")
    digest = f"{number:064x}"
    target = DesiredModel(name=name, version="12.34.56", digest=digest, rollout="r-123456789012")
    installed = Installed(digest=digest, version="12.34.55", variant="tflite:int8-dynamic")
    state = UpdateState.ROLLED_BACK if number % 2 else UpdateState.COMMITTED
    update = Update(target=target, state=state, reason="selftest_failed", detail=detail or None)
    return ModelFile(name=name, update=update, active=installed, previous=installed)


def report(records: list[ModelFile], *, actions: int = 0, detail: str = "") -> Reported:
    wanted = {r.name for r in records[: len(records) // 2]}
    return reported(
        WHO, reversed(records), wanted=wanted, sequence=9, generation=4, now=TrustedTime(1.8e9, clock_synced=True),
        engines={"tflite": "2.3.0", "onnx": "1.31.0"},
        actions=[ActionResult(id=f"a-{i}", ok=True, detail=detail) for i in range(actions)],
    )  # fmt: skip


def essence(model: ReportedModel) -> tuple[object, ...]:
    return (model.name, model.state, model.digest, model.reason, model.active_digest, model.active_version)


def sealed(message: Reported) -> Reported:
    """Return what the fleet manager reads; raises where it is too large."""
    data = seal(message, PayloadType.REPORTED, SIGNER)
    assert len(data) <= MAX_CONTROL_BYTES
    return unseal(data, PayloadType.REPORTED, Reported, keys=[SIGNER.public_key])


@pytest.mark.parametrize("count", [1, 10, 44, 45, 50, 63, 64, 65, 100, 200])
@pytest.mark.parametrize("actions", [0, 64])
def test_any_number_of_models_fits_and_as_many_states_are_told_as_the_contract_has_room_for(
    count: int, actions: int
) -> None:
    whole = report([record(n) for n in range(count)], actions=actions, detail="y" * 1000)
    told = sealed(shortened(whole))
    assert len(whole.models) == min(count, 64)
    # 60 models of these lengths fit; all of them are told where the results of actions leave room.
    assert len(told.models) >= min(count, 58)
    assert [essence(m) for m in told.models] == [essence(m) for m in whole.models[: len(told.models)]]
    assert told.generation == whole.generation


def test_what_fits_is_told_whole() -> None:
    whole = report([record(n) for n in range(20)], actions=3, detail="y")
    assert shortened(whole) == whole


def test_only_as_much_as_it_takes_is_left_out_in_a_defined_order() -> None:
    whole = report([record(n, detail="") for n in range(40)], actions=20, detail="z" * 300)
    left_out = []
    for size in range(MAX_PAYLOAD_BYTES, 2000, -100):
        short = shortened(whole, max_bytes=size)
        assert len(msgspec.json.encode(short)) <= size
        missing = {
            "words": short.actions[-1:] and len(short.actions[-1].detail) < 300,
            "history": any(m.previous_digest is None or m.rollout is None for m in short.models),
            "results": len(short.actions) < 20,
            "engines": not short.engines,
            "models": len(short.models) < 40,
        }
        left_out.append([what for what, is_missing in missing.items() if is_missing])
    steps = [now for before, now in zip([None, *left_out], left_out, strict=False) if now != before]
    order = ["words", "history", "results", "engines", "models"]
    assert steps[-1] == ["words", "results", "engines", "models"] or steps[-1] == order
    assert all(step == order[: len(step)] for step in steps[:-1]), steps
    assert len(steps) >= 4


def test_models_with_the_longest_names_are_left_out_from_the_end_and_the_wanted_ones_stay() -> None:
    records = [record(n, name_length=63, detail="x" * 1000) for n in range(200)]
    told = sealed(shortened(report(records)))
    assert [m.name for m in told.models] == [r.name for r in records[: len(told.models)]]
    assert len(told.models) >= 50
