"""The endpoint for people: `POST /predict[/NAME]`."""

from __future__ import annotations

from edgemm_runtime.http.bodies import plain_body
from edgemm_runtime.http.exchange import Reply, Request, json_body
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.protocols import sequence_fields
from edgemm_runtime.serving.protocols.endpoints import Question
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import forms
from edgemm_runtime.tensors.named_arrays import Arrays


class PredictEndpoint:
    """One model, or the only one where no name is given; see `Endpoint`."""

    timed = False

    def __init__(self, models: ModelRegistry, limits: ServingLimits, name: str | None = None) -> None:
        self._models, self._max_bytes, self._name = models, limits.max_body_bytes, name

    @property
    def model(self) -> str:
        """The name of the model, "" where there is none; see `Endpoint`."""
        if self._name is not None:
            return self._models.known(self._name)
        return next(iter(self._models.names()), "")

    def usual_s(self) -> float:
        """Return how long the model takes lately; see `Endpoint`."""
        return self._models.usual_s(name) if (name := self.model) else 0.0

    def together(self) -> bool:
        """Tell whether requests may be answered as one batch; see `Endpoint`."""
        return bool(name := self.model) and self._models.together(name)

    def read(self, request: Request) -> Question:
        """Read a request; see `Endpoint`."""
        served = self._models.only() if self._name is None else self._models.get(self._name)
        known_by = request.id
        body, top = plain_body(request, max_bytes=self._max_bytes), forms.top_of(request.head.query)
        inputs = forms.decode(body, served.manifest, content_type=request.header("content-type"))

        def reply(outputs: Arrays) -> Reply:
            told = predict_codec.make_answer(served.manifest, outputs, name=served.name, top=top)
            return json_body(told, request_id=known_by)

        return Question(served, inputs, reply, None, sequence_fields.of_headers(request, served), known_by)
