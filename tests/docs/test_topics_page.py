"""docs/topics.md says what the code does, and its examples are the golden messages."""

import json
from enum import Enum

import msgspec
import pytest
from msgspec import Struct

from edgemm import messages, topics
from edgemm.messages import MAX_CONTROL_BYTES, MAX_TELEMETRY_BYTES, ShadowPhase, Stream, VariantPolicy
from edgemm.states import UpdateState
from edgemm.topics import Channel
from edgemm.trust import addresses, enrolment, time_statement
from edgemm.trust.signing import PayloadType
from edgemm_fleet.ingest.contiguity import contiguous
from tests.docs.pages import DOCS, Block, blocks, headings, tables
from tests.docs.sections import check_enum, check_struct, structs
from tests.golden.vector import FOLDER
from tests.golden.wire import BOOT, DESIRED, TOKEN

PAGE = DOCS / "topics.md"
SPOKEN = [*structs(messages), *structs(enrolment), *structs(addresses), *structs(time_statement)]
ON_PAGE = [kind for kind in SPOKEN if kind is not enrolment.EnrolmentToken]
GOLDEN = [block for block in blocks(PAGE, "json") if (block.marker or "").startswith("golden ")]


@pytest.mark.parametrize("kind", ON_PAGE, ids=lambda kind: kind.__name__)
def test_every_field_of_every_message_is_described(kind: type[Struct]) -> None:
    check_struct(PAGE, kind)


@pytest.mark.parametrize("kind", [UpdateState, ShadowPhase, Stream, VariantPolicy], ids=lambda kind: kind.__name__)
def test_every_value_is_listed(kind: type[Enum]) -> None:
    check_enum(PAGE, kind)


@pytest.mark.parametrize("block", GOLDEN, ids=str)
def test_an_example_is_the_golden_message(block: Block) -> None:
    path = FOLDER / _vector(block)
    data = path.read_bytes()
    decode = msgspec.msgpack.decode if path.suffix == ".msgpack" else json.loads
    assert json.loads(block.text) == _in_hex(decode(data))


def test_there_is_an_example_of_every_golden_message() -> None:
    shown = {_vector(block) for block in GOLDEN}
    files = [*FOLDER.glob("messages/*"), *FOLDER.glob("enrolment/*.json")]
    assert shown == {path.relative_to(FOLDER).as_posix() for path in files}


def test_the_envelope_is_the_golden_one_around_the_example() -> None:
    (block,) = [block for block in blocks(PAGE, "json") if block.marker == "golden-envelope"]
    shown, golden = json.loads(block.text), json.loads((FOLDER / "envelopes" / "event.json").read_bytes())
    assert {**shown, "payload": golden["payload"]} == golden


def test_the_table_of_channels_is_that_of_the_code() -> None:
    said = {row[0].split("`")[1]: row[1:] for row in tables(PAGE)["Topics"]}
    assert said == {channel.value: _channel(channel) for channel in Channel}
    assert {f"## {channel}" for channel in Channel} <= {f"## {heading}" for heading in headings(PAGE)}


def test_topics_payload_types_and_sizes_are_right() -> None:
    text = PAGE.read_text()
    prefix = topics.topic(DESIRED.fleet, DESIRED.device, Channel.DESIRED).removesuffix("desired")
    assert f"`{prefix}…`" in text
    assert all(f"`{kind.value}`" in text for kind in PayloadType)
    assert f"message is {len((FOLDER / 'messages' / 'telemetry.msgpack').read_bytes())} bytes of msgpack" in text
    adr = (DOCS / "adr" / "0002-control-in-dsse-telemetry-unsigned.md").read_text()
    assert f"The golden event is {len((FOLDER / 'envelopes' / 'event.json').read_bytes())} bytes" in adr
    assert len(BOOT) == 16


def test_the_example_of_an_acknowledgement_is_what_the_manager_does() -> None:
    text = " ".join(PAGE.read_text().split())
    assert "With 3, 4 and 6 stored and floor 3 it acknowledges 4; a message with floor 6 lets it acknowledge 6" in text
    assert contiguous(0, floor=3, stored=[3, 4, 6]) == 4
    assert contiguous(4, floor=6, stored=[6]) == 6


def test_the_layout_of_a_token_is_right() -> None:
    sizes = [int(row[0]) for row in tables(PAGE)["Enrolment"]]
    assert sizes == [16, 32, 32, 4]
    text = (FOLDER / "enrolment" / "token.txt").read_text()
    assert len(text) == len("emt1_") + -(-sum(sizes) * 4 // 3)
    assert str(TOKEN) == text


def _vector(block: Block) -> str:
    assert block.marker is not None
    return block.marker.removeprefix("golden ")


def _channel(channel: Channel) -> list[str]:
    direction = "fleet → device" if channel in topics.FROM_FLEET else "device → fleet"
    retained = "yes" if channel in topics.RETAINED else "no"
    telemetry, sealed = channel is Channel.TELEMETRY, channel.name in PayloadType.__members__
    form = "msgpack" if telemetry else "JSON in an envelope" if sealed else "JSON"
    signed = "director key" if sealed and channel in topics.FROM_FLEET else "device key" if sealed else "–"
    limit = MAX_TELEMETRY_BYTES if telemetry else MAX_CONTROL_BYTES
    return [direction, "1", retained, form, signed, f"{limit:,} bytes"]


def _in_hex(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _in_hex(item) for key, item in value.items()}
    return [_in_hex(item) for item in value] if isinstance(value, list) else value
