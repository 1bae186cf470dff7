"""The endpoint of inference in the Open Inference Protocol v2: `POST /v2/models/NAME[/versions/VERSION]/infer`."""

from __future__ import annotations

from functools import partial

from edgemm_runtime.http.bodies import plain_body
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.request_id import LONGEST_ID, in_header
from edgemm_runtime.serving.protocols import sequence_fields
from edgemm_runtime.serving.protocols.endpoints import Question
from edgemm_runtime.serving.protocols.v2 import codec as v2_codec
from edgemm_runtime.serving.protocols.v2 import messages
from edgemm_runtime.serving.protocols.v2.raw_tensors import RawTensors
from edgemm_runtime.tensors.named_arrays import Arrays

_BINARY = "application/octet-stream"
_HEADER_LENGTH = messages.HEADER_LENGTH.lower()


class InferEndpoint:
    """One model, in one version or whichever is served; see `Endpoint`."""

    timed = True

    def __init__(self, models: ModelRegistry, limits: ServingLimits, name: str, version: str | None = None) -> None:
        self._models, self._max_bytes = models, limits.max_body_bytes
        self._name, self._version = name, version
        self._codec: tuple[object, v2_codec.Codec] | None = None

    @property
    def model(self) -> str:
        """The name of the model, "" where there is none; see `Endpoint`."""
        return self._models.known(self._name)

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
        step = sequence_fields.of_parameters(decoded.parameters, served)
        # The protocol's own id is stronger than the header's.
        known_by = decoded.id if decoded.id and len(decoded.id) <= LONGEST_ID else request.id
        reply = partial(_reply, codec, decoded, known_by)
        return Question(served, decoded.inputs, reply, decoded.form, step, known_by)

    def _codec_of(self, served: ServedModel) -> v2_codec.Codec:
        """Return the codec of what is served now; that of what was is forgotten, and with it no model is held."""
        known = self._codec
        if known is not None and known[0] is served.key:
            return known[1]
        manifest = served.manifest
        raw = RawTensors(served.variant, manifest.signature, messages.DATATYPES)
        codec = v2_codec.Codec(
            manifest.signature, name=self._name, version=manifest.version, raw=raw, declared=manifest.preprocessing
        )
        self._codec = (served.key, codec)
        return codec


def _reply(codec: v2_codec.Codec, decoded: messages.InferRequest, known_by: str, outputs: Arrays) -> Reply:
    data, header_length = codec.encode(decoded, outputs)
    told = in_header(known_by) if decoded.id else known_by
    if header_length is None:
        return Reply(200, data, request_id=told)
    return Reply(200, data, _BINARY, ((messages.HEADER_LENGTH, str(header_length)),), told)
