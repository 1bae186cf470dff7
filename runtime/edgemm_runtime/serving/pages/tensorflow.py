"""The handlers of TensorFlow Serving's REST, but for those that ask a model: state and signature."""

from __future__ import annotations

from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.serving.pages.asked import Asked
from edgemm_runtime.serving.protocols.tensorflow import codec as tensorflow_codec
from edgemm_runtime.serving.protocols.tensorflow.endpoint import find_by_number


def state(asked: Asked) -> Reply:
    """Tell the state of a model, as its clients ask for it before they ask the model."""
    try:
        served = find_by_number(asked.device.models, asked.name, asked.number)
    except UnavailableError:
        return json_body(tensorflow_codec.status("", available=False), status=503)
    return json_body(tensorflow_codec.status(served.manifest.version, available=True))


def signature(asked: Asked) -> Reply:
    """Tell the tensors of a model."""
    served = find_by_number(asked.device.models, asked.name, asked.number)
    return json_body(tensorflow_codec.metadata(asked.name, served.manifest))


def verb_is_not_here(asked: Asked) -> Reply:
    """Refuse a verb.

    Raises:
        NotFoundError: always.
    """
    raise NotFoundError(
        f"expected /v1/models/NAME[/versions/NUMBER]:predict, :classify or :regress, found "
        f"{asked.request.head.path[:80]!r}; versions have no labels here"
    )
