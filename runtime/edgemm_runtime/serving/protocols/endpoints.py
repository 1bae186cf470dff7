"""The endpoints that answer with a model: from a request's bytes to a reply's bytes.

The transport calls them directly where the model is quick; the Flask application calls the same ones from its views.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from edgemm.errors import NotFoundError
from edgemm.versions import Version
from edgemm_runtime.engines.interface import Arrays
from edgemm_runtime.engines.stored_integers import StoredForm
from edgemm_runtime.http.bodies import decompress
from edgemm_runtime.http.exchange import Reply, Request, json_body
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.feedback import predicted
from edgemm_runtime.models.registry import ModelRegistry, ServedModel
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import forms
from edgemm_runtime.serving.protocols.tensorflow import codec as tensorflow_codec
from edgemm_runtime.serving.protocols.v2 import codec as v2_codec
from edgemm_runtime.serving.protocols.v2 import messages
from edgemm_runtime.serving.protocols.v2.raw_tensors import RawTensors

_BINARY = "application/octet-stream"
_HEADER_LENGTH = messages.HEADER_LENGTH.lower()
_MOST_REMEMBERED = 256
_LONGEST_REMEMBERED = 512


class Question(NamedTuple):
    """A request that was read: whom it asks, what, and how the outputs are told; `form` as in `ServedModel.predict`."""

    served: ServedModel
    inputs: Arrays
    reply: Callable[[Arrays], Reply]
    form: StoredForm | None = None


class Endpoint(Protocol):
    """What answers `POST` at one path."""

    def usual_s(self) -> float:
        """Return how long the model takes lately; 0 where it has not been asked, or there is none.

        Never raises.
        """

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; never raises."""

    def read(self, request: Request) -> Question:
        """Read a request.

        Raises:
            RequestError: it cannot be answered.
        """


def answer(endpoint: Endpoint, request: Request) -> Reply:
    """Answer a request.

    Raises:
        RequestError: it cannot be answered.
        EngineError: the engine failed.
    """
    question = endpoint.read(request)
    return question.reply(question.served.predict(question.inputs, form=question.form))


def answer_together(endpoint: Endpoint, requests: Sequence[Request]) -> list[Reply] | None:
    """Answer requests as one batch; None where they are to be answered one by one.

    Raises:
        RequestError: one of them cannot be answered.
    """
    questions = [endpoint.read(request) for request in requests]
    served = questions[0].served
    if any(question.served is not served or question.form is not None for question in questions):
        return None  # swapped while they were read, or raw
    answers = served.predict_together([question.inputs for question in questions])
    if answers is None:
        return None
    return [question.reply(outputs) for question, outputs in zip(questions, answers, strict=True)]


class InferEndpoint:
    """Open Inference Protocol v2: `POST /v2/models/NAME[/versions/VERSION]/infer`."""

    def __init__(self, models: ModelRegistry, limits: ServingLimits, name: str, version: str | None = None) -> None:
        self._models, self._max_bytes = models, limits.max_body_bytes
        self._name, self._version = name, version
        self._codec: tuple[object, v2_codec.Codec] | None = None

    def usual_s(self) -> float:
        """Return how long the model takes lately; see `Endpoint`."""
        return self._models.usual_s(self._name)

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; see `Endpoint`."""
        return self._models.together(self._name)

    def read(self, request: Request) -> Question:
        """Read a request; see `Endpoint`."""
        served = self._models.get(self._name, version=self._version)
        codec = self._codec_of(served)
        decoded = codec.decode(
            plain_body(request, max_bytes=self._max_bytes), header_length=request.head.headers.get(_HEADER_LENGTH)
        )
        return Question(served, decoded.inputs, partial(self._reply, served, codec, decoded), decoded.form)

    def _reply(
        self, served: ServedModel, codec: v2_codec.Codec, decoded: messages.InferRequest, outputs: Arrays
    ) -> Reply:
        if decoded.id:
            prediction = predicted(served.key, outputs, served.manifest.labels)
            if prediction is not None:
                self._models.feedback.remember(decoded.id, prediction)
        data, header_length = codec.encode(decoded, outputs)
        if header_length is None:
            return Reply(200, data)
        return Reply(200, data, _BINARY, ((messages.HEADER_LENGTH, str(header_length)),))

    def _codec_of(self, served: ServedModel) -> v2_codec.Codec:
        """Return the codec of what is served now; that of what was is forgotten, and with it no model is held."""
        known = self._codec
        if known is not None and known[0] is served.key:
            return known[1]
        raw = RawTensors(served.variant, served.manifest.signature, messages.DATATYPES)
        codec = v2_codec.Codec(served.manifest.signature, name=self._name, version=served.manifest.version, raw=raw)
        self._codec = (served.key, codec)
        return codec


class PredictEndpoint:
    """For people: `POST /predict[/NAME]`."""

    def __init__(self, models: ModelRegistry, limits: ServingLimits, name: str | None = None) -> None:
        self._models, self._max_bytes, self._name = models, limits.max_body_bytes, name

    def usual_s(self) -> float:
        """Return how long the model takes lately; see `Endpoint`."""
        names = self._models.names() if self._name is None else (self._name,)
        return self._models.usual_s(names[0]) if names else 0.0

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; see `Endpoint`."""
        names = self._models.names() if self._name is None else (self._name,)
        return bool(names) and self._models.together(names[0])

    def read(self, request: Request) -> Question:
        """Read a request; see `Endpoint`."""
        served = self._models.only() if self._name is None else self._models.get(self._name)
        body, top = plain_body(request, max_bytes=self._max_bytes), forms.top_of(request.head.query)
        inputs = forms.decode(body, served.manifest, content_type=request.header("content-type"))

        def reply(outputs: Arrays) -> Reply:
            return json_body(predict_codec.make_answer(served.manifest, outputs, name=served.name, top=top))

        return Question(served, inputs, reply)


class ServingEndpoint:
    """TensorFlow Serving's REST: `POST /v1/models/NAME[/versions/NUMBER]:VERB`."""

    def __init__(
        self,
        models: ModelRegistry,
        limits: ServingLimits,
        name: str,
        *,
        verb: tensorflow_codec.Verb,
        number: str | None = None,
    ) -> None:
        self._models, self._max_bytes = models, limits.max_body_bytes
        self._name, self._verb, self._number = name, verb, number

    def usual_s(self) -> float:
        """Return how long the model takes lately; see `Endpoint`."""
        return self._models.usual_s(self._name)

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; see `Endpoint`."""
        return self._models.together(self._name)

    def read(self, request: Request) -> Question:
        """Read a request; see `Endpoint`."""
        served = find_by_number(self._models, self._name, self._number)
        body = plain_body(request, max_bytes=self._max_bytes)
        decoded = tensorflow_codec.decode(self._verb, body, served.manifest.signature)

        def reply(outputs: Arrays) -> Reply:
            match self._verb:
                case tensorflow_codec.Verb.PREDICT:
                    return Reply(200, tensorflow_codec.encode_predictions(outputs, by_sample=decoded.by_sample))
                case tensorflow_codec.Verb.CLASSIFY:
                    return Reply(200, tensorflow_codec.encode_classes(outputs, served.manifest.labels))
                case tensorflow_codec.Verb.REGRESS:
                    return Reply(200, tensorflow_codec.encode_values(outputs))

        return Question(served, decoded.inputs, reply)


def find_by_number(models: ModelRegistry, name: str, number: str | None) -> ServedModel:
    """Return the active model, if its version has TensorFlow Serving's `number`; None and 0 are any.

    Raises:
        NotFoundError: no such model or version is served.
        UnavailableError: it is expected but not active yet.
    """
    served = models.get(name)
    found = str(Version(served.manifest.version).numeric)
    if number is not None and number.lstrip("0") not in {"", found}:
        raise NotFoundError(f"model {name!r} serves version {found} ({served.manifest.version}), not {number[:40]!r}")
    return served


class Endpoints:
    """Which endpoint answers at a path; those that were asked for lately are kept, with what they remember."""

    def __init__(self, models: ModelRegistry, limits: ServingLimits) -> None:
        self._models, self._limits = models, limits
        self._known: dict[str, Endpoint | None] = {}

    def find(self, path: str) -> Endpoint | None:
        """Return what answers `POST` at a path, None where no model does."""
        try:
            return self._known[path]
        except KeyError:
            endpoint = self._make(path)
            if len(path) <= _LONGEST_REMEMBERED:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known = {}
                self._known[path] = endpoint
            return endpoint

    def _make(self, path: str) -> Endpoint | None:
        for parse in (_parse_infer, _parse_predict, _parse_serving):
            make = parse(path)
            if make is not None:
                return make(self._models, self._limits)
        return None


def plain_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body of a request as it was before a `Content-Encoding`; raises as `decompress`."""
    encoding = request.head.headers.get("content-encoding")
    if encoding is None and len(request.body) <= max_bytes:
        return request.body
    return decompress(request.body, encoding=encoding or "", max_bytes=max_bytes)


def _parse_infer(path: str) -> Callable[[ModelRegistry, ServingLimits], Endpoint] | None:
    if not (path.startswith("/v2/models/") and path.endswith("/infer")):
        return None
    name = path.removeprefix("/v2/models/").removesuffix("/infer")
    name, versions, version = name.rpartition("/versions/") if "/versions/" in name else (name, "", "")
    if not name or (versions and not version):
        return None
    return lambda models, limits: InferEndpoint(models, limits, name, version or None)


def _parse_predict(path: str) -> Callable[[ModelRegistry, ServingLimits], Endpoint] | None:
    if path == "/predict":
        return PredictEndpoint
    if not path.startswith("/predict/"):
        return None
    name = path.removeprefix("/predict/")
    if not name:
        return None
    return lambda models, limits: PredictEndpoint(models, limits, name)


_SERVING = re.compile(
    r"/v1/models/(?P<name>.+?)(?:/versions/(?P<number>[0-9]{1,15}))?:(?P<verb>predict|classify|regress)"
)


def _parse_serving(path: str) -> Callable[[ModelRegistry, ServingLimits], Endpoint] | None:
    found = _SERVING.fullmatch(path)
    if found is None:
        return None
    verb = tensorflow_codec.Verb(found["verb"])
    return lambda models, limits: ServingEndpoint(models, limits, found["name"], verb=verb, number=found["number"])
