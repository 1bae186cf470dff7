"""Words that this version does not know, through the real decoders."""

import copy
import pickle
from types import ModuleType

import msgspec
import pytest

from edgemm import messages
from edgemm.errors import MessageError
from edgemm.messages import Ack, ShadowPhase, Stream, StreamAck, VariantPolicy, decode_control, encode_control
from edgemm.open_enum import MAX_WORD, OpenEnum
from edgemm.reasons import Reason
from edgemm.requirements import refusal, unknown
from edgemm.states import RolloutState, UpdateState, may_follow
from edgemm.trust import enrolment
from edgemm_fleet.client import profile
from edgemm_fleet.records import members, progress, records, rollout_plan
from edgemm_fleet.records.members import MemberState
from edgemm_fleet.records.records import Role
from edgemm_fleet.trust import fleet_folder
from edgemm_runtime.agent.state import documents

EACH = pytest.mark.parametrize(
    "kind", [UpdateState, RolloutState, MemberState, ShadowPhase, Stream, VariantPolicy, Role, Reason]
)


@EACH
def test_a_known_word_is_its_member(kind: type[OpenEnum]) -> None:
    member = next(iter(kind))
    assert msgspec.json.decode(msgspec.json.encode(member), type=kind) is member
    assert member.known


@EACH
def test_an_unknown_word_keeps_its_text_and_is_none_of_the_members(kind: type[OpenEnum]) -> None:
    word = msgspec.json.decode(b'"of-2030"', type=kind)
    assert not word.known
    assert word == "of-2030"
    assert f"{word}" == "of-2030"
    assert msgspec.json.encode(word) == b'"of-2030"'
    assert word not in set(kind)
    assert "of-2030" not in {member.value for member in kind}
    assert {word: 1} == {msgspec.msgpack.decode(b"\xa7of-2030", type=kind): 1}
    assert pickle.loads(pickle.dumps(word)) == copy.deepcopy(word) == word


@EACH
def test_what_is_no_word_is_refused(kind: type[OpenEnum]) -> None:
    for data in (b"7", b"null", b'"' + b"x" * (MAX_WORD + 1) + b'"'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(data, type=kind)


def test_a_message_with_an_unknown_word_is_written_back_as_it_came() -> None:
    known = StreamAck(boot="0" * 16, stream=Stream.EVENT, sequence=3)
    data = encode_control(Ack(acks=(known, StreamAck(boot="0" * 16, stream=Stream("trace"), sequence=9))))
    assert b'"trace"' in data
    assert encode_control(decode_control(data, Ack)) == data
    assert decode_control(data, Ack).acks[0] == known
    with pytest.raises(MessageError, match="Expected `str`"):
        decode_control(data.replace(b'"trace"', b"1"), Ack)


def test_of_an_unknown_state_every_transition_may_be_true() -> None:
    held = UpdateState("held")
    assert may_follow(held, UpdateState.COMMITTED)
    assert may_follow(UpdateState.IDLE, held)
    assert not may_follow(UpdateState.IDLE, UpdateState.COMMITTED)


def test_names_that_are_not_known_are_named() -> None:
    assert unknown(msgspec.UNSET) == unknown(()) == ()
    assert unknown(("window", "consent", "window")) == ("consent", "window")
    assert "needs consent, window, which edgemm" in refusal(unknown(("window", "consent")))


DURABLE = [messages, enrolment, documents, rollout_plan, members, progress, records, profile, fleet_folder]


@pytest.mark.parametrize("module", DURABLE, ids=lambda module: module.__name__)
def test_every_enum_of_a_durable_format_is_open(module: ModuleType) -> None:
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    found = [
        (kind.__name__, field.name, part)
        for kind in kinds
        if kind.__struct_fields__ and not getattr(kind, "__parameters__", ())
        for field in msgspec.structs.fields(kind)
        for part in _parts(msgspec.inspect.type_info(field.type))
    ]
    assert found
    closed = [
        (kind, field)
        for kind, field, part in found
        if (isinstance(part, msgspec.inspect.EnumType) and not issubclass(part.cls, OpenEnum))
        or (isinstance(part, msgspec.inspect.LiteralType) and field != "v")
    ]
    assert closed == []


def _parts(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    """Return a type and those that it is made of, without the fields of other Structs."""
    inner = [getattr(kind, name, None) for name in ("item_type", "key_type", "value_type", "type")]
    inner += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
    return [kind, *(part for one in inner if isinstance(one, msgspec.inspect.Type) for part in _parts(one))]
