"""Documents as a later minor version may write them: words, fields and names that today's version does not know.

Each is read, and its unknown item affects itself alone. A file with fields that today's structs lack has no writer.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgemm import canonical, messages
from edgemm.messages import (
    Action,
    DesiredModel,
    ModelConfig,
    ReportedShadow,
    ShadowPhase,
    Stream,
    StreamAck,
    VariantPolicy,
)
from edgemm.states import RolloutState, UpdateState
from edgemm.trust.signing import key_document
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.records import Role
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan
from edgemm_fleet.store import Store, person_tokens, rollouts
from edgemm_fleet.trust.metadata_files import serialize
from edgemm_runtime.agent.state.documents import DirectorFile
from tests.golden import state, trust
from tests.golden.vector import DIRECTOR, PUBLISHER, Vector
from tests.golden.wire import ACK, BOOT, DESIRED, EVENT, REPORTED, SHADOW

HELD, CHECKED = UpdateState("held"), UpdateState("checked")
DESIRED_LATER = replace(
    DESIRED,
    models=(
        DESIRED.models[0],
        DesiredModel(
            name="doorbell",
            version="1.0.0",
            digest="d" * 64,
            config=ModelConfig(requires=("capture", "window"), shadow=replace(SHADOW, requires=("consent",))),
        ),
        DesiredModel(name="wake-word", version="3.0.0", digest="b" * 64, variants=VariantPolicy("fastest")),
    ),
    actions=(Action(id="a-1", kind="calibrate"),),
)
"""The file also has the fields that `requires` names, which are ignored here."""
REPORTED_LATER = replace(
    REPORTED,
    models=(
        replace(
            REPORTED.models[0],
            state=HELD,
            reason="outside_window",
            shadow=ReportedShadow(
                digest=SHADOW.digest, version=SHADOW.version, phase=ShadowPhase("paused"), reason="no_consent"
            ),
        ),
        replace(REPORTED.models[0], name="wake-word"),
    ),
)
EVENT_LATER = replace(EVENT, cause="outside_window", from_state=CHECKED, to_state=HELD)
ACK_LATER = replace(ACK, acks=(StreamAck(boot=BOOT, stream=Stream("trace"), sequence=8), *ACK.acks))
_UPDATE, _PENDING = state.MODEL.update, state.MODEL.pending[0]
assert _UPDATE is not None
MODEL_LATER = replace(
    state.MODEL,
    update=replace(_UPDATE, state=CHECKED),
    failures=(replace(state.FAILED, state=UpdateState("quarantined"), reason="outside_window"),),
    pending=(replace(_PENDING, cause="checked", to_state=CHECKED),),
)
DIRECTOR_LATER = DirectorFile(
    fleet="home",
    keys=(
        {"keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": {"public": "00"}},
        key_document(DIRECTOR.public_key),
    ),
)
PLAN_LATER = RolloutPlan(
    model="digits",
    version="1.0.0",
    digest="a" * 64,
    groups=(Group(count=1), Group(percent=100)),
    variants=VariantPolicy("fastest"),
    requires=("gate.drift", "window"),
)
"""The file also has the gate and the window, which are ignored here."""
DATABASE_LATER = (
    [(RolloutState("held"), ()), (RolloutState.RUNNING, ("gate.drift",))],
    [("cam-1", MemberState.REACHED, UpdateState("held")), ("cam-2", MemberState("parked"), None)],
    [Role("auditor")],
)


def _control(name: str, value: msgspec.Struct, *, written: bool = True) -> Vector:
    write = messages.encode_control if written else None
    return Vector(f"later/{name}.json", value, write, lambda data: messages.decode_control(data, type(value)))


def _document(name: str, value: msgspec.Struct) -> Vector:
    kind = type(value)
    return Vector(f"later/{name}.json", value, canonical.encode, lambda data: canonical.decode(data, kind, name=name))


def _role() -> Metadata[Targets]:
    """Return the golden model's role with a restriction that its publisher signed."""
    role: Metadata[Targets] = Metadata.from_bytes(serialize(trust.ROLES["model-digits"]))
    for path, target in role.signed.targets.items():
        custom = {**(target.custom or {}), "requires": ["boards"], "boards": ["raspberry-pi-5"], "notes": "for boards"}
        role.signed.targets[path] = TargetFile(target.length, target.hashes, path, {"custom": custom})
    role.sign(PUBLISHER)
    return role


def _read_database(data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        state._restore(path, data)
        store = Store.open(path)
        with store.read() as tx:
            found = sorted(rollouts.page(tx).items, key=lambda rollout: rollout.id)
            members = [m for rollout in found for m in rollouts.members_of(tx, rollout.id)]
            return (
                [(rollout.state, rollout.plan.unknown) for rollout in found],
                [(member.device, member.state, member.update_state) for member in members],
                [token.role for token in person_tokens.page(tx).items],
            )


VECTORS = [
    _control("desired", DESIRED_LATER, written=False),
    _control("reported", REPORTED_LATER),
    _control("event", EVENT_LATER),
    _control("ack", ACK_LATER),
    _document("model", MODEL_LATER),
    _document("director", DIRECTOR_LATER),
    Vector("later/plan.json", PLAN_LATER, None, lambda data: msgspec.json.decode(data, type=RolloutPlan)),
    Vector("later/model-digits.json", _role(), serialize, Metadata.from_bytes),
    Vector("later/spool.sql", state.SPOOLED, None, state._read_spool),
    Vector("later/database.sql", DATABASE_LATER, None, _read_database),
]
