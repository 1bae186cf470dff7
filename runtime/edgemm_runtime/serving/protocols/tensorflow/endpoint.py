"""The endpoint of TensorFlow Serving's REST: `POST /v1/models/NAME[/versions/NUMBER]:VERB`."""

from __future__ import annotations

from edgemm.errors import NotFoundError
from edgemm.versions import Version
from edgemm_runtime.http.bodies import plain_body
from edgemm_runtime.http.exchange import Reply, Request
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.models.served_model import ServedModel
from edgemm_runtime.serving.protocols import sequence_fields
from edgemm_runtime.serving.protocols.endpoints import Question
from edgemm_runtime.serving.protocols.tensorflow import codec as tensorflow_codec
from edgemm_runtime.tensors.comparison import score_labels
from edgemm_runtime.tensors.named_arrays import Arrays


class ServingEndpoint:
    """One model asked by one verb, in one version or whichever is served; see `Endpoint`."""

    timed = False

    def __init__(
        self,
        models: ModelRegistry,
        limits: ServingLimits,
        name: str,
        number: str | None = None,
        *,
        verb: tensorflow_codec.Verb,
    ) -> None:
        self._models, self._max_bytes = models, limits.max_body_bytes
        self._name, self._verb, self._number = name, verb, number

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
        served = find_by_number(self._models, self._name, self._number)
        body = plain_body(request, max_bytes=self._max_bytes)
        manifest = served.manifest
        decoded = tensorflow_codec.decode(self._verb, body, manifest.signature, declared=manifest.preprocessing)

        labels, samples = score_labels(served.manifest), decoded.samples

        known_by = request.id

        def reply(outputs: Arrays) -> Reply:
            if self._verb is tensorflow_codec.Verb.PREDICT or samples is None:
                data = tensorflow_codec.encode_predictions(outputs, samples=samples)
            elif self._verb is tensorflow_codec.Verb.CLASSIFY:
                data = tensorflow_codec.encode_classes(outputs, labels, samples=samples)
            else:
                data = tensorflow_codec.encode_values(outputs, samples=samples)
            return Reply(200, data, request_id=known_by)

        return Question(served, decoded.inputs, reply, None, sequence_fields.of_headers(request, served), known_by)


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
