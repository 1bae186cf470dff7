"""A message as a request, and the reply to it as the answer's payload: what `POST /predict` takes and says. Pure.

    edgemm/digits/predict   {"id": "7", "inputs": [[…]]}
    edgemm/digits/answer    {"id": "7", "model": "digits", "version": "1.0.0", "outputs": {…}, "top": […]}

The id is that in the JSON, else the user property `id`, else MQTT 5's correlation data where they are text, else one
that the device makes. Every answer is one JSON object that begins with it; an error has `status` and `error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from edgemm.transport.request_head import Head
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.memory.memory_budget import Holding
from edgemm_runtime.request_id import GIVEN, is_id, make_id

_LARGEST_READ_BYTES = 1024 * 1024
_LONGEST_ID = 1024
_LONGEST_TOPIC = 1024
_PREDICT, _ANSWER, _STATUS = "predict", "answer", "status"
_PASSED = frozenset({"x-sequence-id", "x-sequence-start", "x-sequence-end", "content-encoding"})
"""User properties that mean what the headers of these names mean."""


@dataclass(frozen=True)
class Topics:
    """The topics of one device, all below its prefix."""

    prefix: str

    @property
    def requests(self) -> str:
        """What the device subscribes to."""
        return f"{self.prefix}/+/{_PREDICT}"

    @property
    def status(self) -> str:
        """Where `online` or `offline` stays."""
        return f"{self.prefix}/{_STATUS}"

    def answer(self, model: str) -> str:
        """Where a model's answers go unless a request says otherwise."""
        return f"{self.prefix}/{model}/{_ANSWER}"

    def model_of(self, topic: str) -> str:
        """Return the model that a topic of requests names."""
        return topic.removeprefix(f"{self.prefix}/").removesuffix(f"/{_PREDICT}")

    def may_answer_at(self, topic: str) -> bool:
        """Tell whether answers may go where a request says: not to another request's topic, and not to the status."""
        if not topic or topic.startswith("$") or len(topic) > _LONGEST_TOPIC or any(c in topic for c in "+#\0"):
            return False
        return not topic.endswith(f"/{_PREDICT}") and topic != self.status


@dataclass(frozen=True)
class MqttRequest:
    """A request as it came; what MQTT 3.1.1 does not have is empty."""

    topic: str
    payload: bytes
    content_type: str = ""
    response_topic: str = ""
    correlation: bytes | None = None
    user: Mapping[str, str] = field(default_factory=dict)

    @property
    def retain(self) -> bool:
        """Whether its answer is to stay at the broker."""
        return self.user.get("retain", "").lower() == "true"


@dataclass(frozen=True)
class MqttQuestion:
    """A message as a request of HTTP, and its id as the client spelled it."""

    request: Request
    id: str | int


class _Id(Struct, frozen=True):
    id: str | int | None = None


def read(message: MqttRequest, model: str, holding: Holding) -> MqttQuestion:
    """Return what a message asks a model; whether that can be answered is found later, as over HTTP.

    `holding` is what it holds of the server's memory.
    """
    made = make_id()
    given = given_id(message)
    told = made if given is None else given
    known_by = str(told) if is_id(str(told)) else made
    headers = {name: value for name, value in message.user.items() if name in _PASSED}
    if message.content_type:
        headers["content-type"] = message.content_type
    top = message.user.get("top", "")
    head = Head("POST", f"/predict/{model}", f"top={top}" if top else "", {**headers, GIVEN: known_by})
    return MqttQuestion(Request(head, message.payload, holding, made), told)


def given_id(message: MqttRequest) -> str | int | None:
    """Return the id that a message gives; None where it gives none."""
    found: str | int | None = None
    if message.payload[:64].lstrip()[:1] == b"{" and len(message.payload) <= _LARGEST_READ_BYTES:
        # What is no JSON is answered with what is wrong with it.
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = msgspec.json.decode(message.payload, type=_Id).id
    if found is None:
        found = message.user.get("id") or _text(message.correlation)
    return found if isinstance(found, int) or (found and len(found) <= _LONGEST_ID) else None


def payload_of(reply: Reply, told: str | int) -> bytes:
    """Return the answer's JSON: that of HTTP, with the id before it, and the status of an error."""
    start = b'{"id":' + msgspec.json.encode(told)
    if reply.status >= 400:
        start += b',"status":%d' % reply.status
    rest = reply.body.lstrip()[1:].lstrip()
    return start + (b"," if rest[:1] != b"}" else b"") + rest


def _text(data: bytes | None) -> str:
    text = (data or b"").decode("ascii", "replace")
    return text if is_id(text) else ""
