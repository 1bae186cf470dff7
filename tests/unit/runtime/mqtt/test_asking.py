"""A message becomes the request that /predict takes, and its reply one JSON with the message's id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgemm_runtime.http.exchange import error_body, json_body
from edgemm_runtime.memory.memory_budget import UNBOUNDED
from edgemm_runtime.mqtt.asking import MqttRequest, Topics, given_id, payload_of, read
from edgemm_runtime.mqtt.owner_broker import MqttLimits
from edgemm_runtime.mqtt.room import Outcome, Room

TOPICS = Topics("home/kitchen")
TOPIC = "home/kitchen/tiny/predict"


def test_topics_name_the_model() -> None:
    assert TOPICS.model_of(TOPIC) == "tiny"
    assert TOPICS.answer("tiny") == "home/kitchen/tiny/answer"
    assert (TOPICS.requests, TOPICS.status) == ("home/kitchen/+/predict", "home/kitchen/status")


@pytest.mark.parametrize(
    ("topic", "may"),
    [
        ("answers/of/mine", True),
        ("home/kitchen/tiny/answer", True),
        (TOPIC, False),
        ("home/kitchen/other/predict", False),
        ("home/cellar/tiny/predict", False),
        ("home/kitchen/status", False),
        ("$SYS/x", False),
        ("a/+/b", False),
        ("a/#", False),
        ("", False),
        ("a\0b", False),
        ("x" * 2000, False),
    ],
)
def test_answers_go_where_they_start_nothing(topic: str, may: bool) -> None:
    assert TOPICS.may_answer_at(topic) is may


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (MqttRequest(TOPIC, b'{"id": "7", "inputs": []}'), "7"),
        (MqttRequest(TOPIC, b'{"id": 7}', correlation=b"c"), 7),
        (MqttRequest(TOPIC, b"[[1]]", user={"id": "u"}, correlation=b"c"), "u"),
        (MqttRequest(TOPIC, b"[[1]]", correlation=b"c-1"), "c-1"),
        (MqttRequest(TOPIC, b"[[1]]", correlation=b"\xff\x00"), None),
        (MqttRequest(TOPIC, b"[[1]]"), None),
        (MqttRequest(TOPIC, b'{"id": ["no"]}'), None),
        (MqttRequest(TOPIC, b'{"id": "' + b"x" * 2000 + b'"}'), None),
        (MqttRequest(TOPIC, b'{"id": '), None),
        (MqttRequest(TOPIC, b'{"id": 0}'), 0),
    ],
)
def test_the_id_is_the_clients(message: MqttRequest, expected: object) -> None:
    assert given_id(message) == expected
    asked = read(message, "tiny", UNBOUNDED.holding())
    assert asked.id == (asked.request.made_id if expected is None else expected)
    assert asked.request.id == str(asked.id)


def test_an_id_that_no_header_can_carry_is_answered_and_another_is_for_labels() -> None:
    asked = read(MqttRequest(TOPIC, '{"id": "schöne Tür"}'.encode()), "tiny", UNBOUNDED.holding())
    assert asked.id == "schöne Tür"
    assert asked.request.id == asked.request.made_id


def test_user_properties_are_the_headers_that_they_are_called_after() -> None:
    user = {"x-sequence-id": "door", "x-api-key": "k", "content-length": "5", "top": "2"}
    request = read(MqttRequest(TOPIC, b"[]", "text/csv", user=user), "tiny", UNBOUNDED.holding()).request
    assert request.head.path == "/predict/tiny"
    assert request.head.query == "top=2"
    assert dict(request.head.headers) == {
        "x-sequence-id": "door", "content-type": "text/csv", "x-request-id": request.id
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (json_body({"model": "tiny"}), {"id": "7", "model": "tiny"}),
        (json_body({}), {"id": "7"}),
        (error_body("no", status=400), {"id": "7", "status": 400, "error": "no"}),
    ],
)
def test_an_answer_is_one_json_with_the_id(reply: Any, expected: object) -> None:
    assert json.loads(payload_of(reply, "7")) == expected


def test_there_is_room_for_so_many_and_so_many_bytes() -> None:
    room = Room(MqttLimits(max_in_flight=2, max_in_flight_bytes=100))
    one, two = MqttRequest(TOPIC, b"[1]"), MqttRequest(TOPIC, b"[2]")
    assert [room.take(one), room.take(two), room.take(MqttRequest(TOPIC, b"[3]"))] == [None, None, Outcome.DROPPED]
    assert (room.leave(two), room.leave(two)) == (True, False)
    assert room.take(MqttRequest(TOPIC, b"x" * 98)) is Outcome.DROPPED
    assert room.take(MqttRequest(TOPIC, b"x" * 97)) is None


def test_of_the_same_request_twice_one_is_answered() -> None:
    room = Room(MqttLimits())
    first, again = (MqttRequest(TOPIC, b'{"id": "7", "inputs": [1]}') for _ in range(2))
    assert (room.take(first), room.take(again)) == (None, Outcome.IGNORED)
    assert room.take(MqttRequest(TOPIC, b'{"id": "7", "inputs": [2]}')) is None
    assert [room.take(MqttRequest(TOPIC, b"[1]")) for _ in range(2)] == [
        None,
        None,
    ]  # nobody said that they are the same
    room.leave(first)
    assert room.take(again) is None
