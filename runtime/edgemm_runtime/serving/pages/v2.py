"""The handlers of the Open Inference Protocol v2: health, metadata, statistics, the repository, and late labels."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from edgemm import __version__
from edgemm.errors import BadRequestError, ConflictError, NotFoundError, UnavailableError
from edgemm_runtime.http import json_faults
from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.models.late_labels import decode_label
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.serving.pages.asked import Asked
from edgemm_runtime.serving.protocols.v2 import messages, triton


def server_metadata(asked: Asked) -> Reply:
    """Tell the server's name, version and extensions."""
    managed = () if asked.device.loader is None else ("model_repository",)
    return json_body({"name": "edgemm", "version": __version__, "extensions": (*messages.EXTENSIONS, *managed)})


def live(asked: Asked) -> Reply:  # noqa: ARG001 - a handler
    """Tell that the server runs."""
    return json_body({"live": True})


def ready(asked: Asked) -> Reply:
    """Tell whether every model is ready."""
    is_ready = asked.device.models.ready
    return json_body({"live": True, "ready": is_ready}, status=200 if is_ready else 503)


def model_ready(asked: Asked) -> Reply:
    """Tell whether a model is ready."""
    try:
        asked.device.models.get(asked.name, version=asked.version)
    except (NotFoundError, UnavailableError) as err:
        status = 404 if isinstance(err, NotFoundError) else 503
        return json_body({"name": asked.name, "ready": False, "error": str(err)}, status=status)
    return json_body({"name": asked.name, "ready": True})


def model_metadata(asked: Asked) -> Reply:
    """Tell a model's tensors."""
    served = asked.device.models.get(asked.name, version=asked.version)
    return json_body(messages.model_metadata(asked.name, served.manifest, served.variant))


def all_statistics(asked: Asked) -> Reply:
    """Tell counts and times of all models."""
    return json_body(triton.statistics(asked.device.models.snapshot()))


def model_statistics(asked: Asked) -> Reply:
    """Tell counts and times of a model, in one version or all."""
    models, name, version = asked.device.models, asked.name, asked.version
    models.get(name, version=version)
    wanted = [s for s in models.snapshot() if s.key.name == name and version in {None, s.key.version}]
    return json_body(triton.statistics(wanted))


def configuration(asked: Asked) -> Reply:
    """Tell a model's configuration as Triton has it."""
    models = asked.device.models
    served = models.get(asked.name, version=asked.version)
    return json_body(triton.configuration(asked.name, served.manifest, served.variant, models.sequences))


def index(asked: Asked) -> Reply:
    """Tell every model with its state."""
    models, wanted = asked.device.models, triton.read_index_request(asked.request.body)
    return json_body(triton.index(models.versions(), models.unloaded(), asked=wanted))


def feedback(asked: Asked) -> Reply:
    """Take the right class of an earlier request, and tell whether the model named it."""
    models, told = asked.device.models, decode_label(asked.request.body)
    name = told.model or models.only(otherwise="as `model`").name
    try:
        found = models.feedback.label(name, str(told.id), told.label, row=told.row)
    except NotFoundError as err:
        if any(served.name == name and served.awaited is None for served in models.active()):
            raise BadRequestError(
                f"model {name!r} names no classes: no label can be compared with what it predicts, "
                "and none of it is kept"
            ) from err
        raise
    row = {} if told.row is None else {"row": told.row}
    compared = {"version": found.key.version, "predicted": found.predicted, "agreed": found.agreed}
    return json_body({"id": told.id, "model": name, **row, **compared})


def loading_is_not_here(asked: Asked) -> Reply:
    """Refuse to load or unload at the public address.

    Raises:
        ConflictError: always.
    """
    raise ConflictError(
        f"model {asked.name[:80]!r}: models are loaded by the command line, by the fleet, or over the management "
        "address (edgemm run --manage), not by clients"
    )


def load(asked: Asked) -> Reply:
    """Serve a model from its bundle file as it is now.

    Raises:
        BadRequestError: a parameter is given.
        NotFoundError: the server was not started with such a model.
        ConflictError: the file cannot be served.
    """
    if given := sorted(_parameters(asked.request.body)):
        raise BadRequestError(f"parameter {given[0][:80]!r} is not here: a model is loaded as its bundle says")
    _loader(asked).load(asked.name)
    return json_body({})


def unload(asked: Asked) -> Reply:
    """Take a model out of serving.

    Raises:
        BadRequestError: a parameter is given that is not here.
        NotFoundError: the server was not started with such a model.
        UnavailableError: the model is expected but not active yet.
    """
    if given := sorted(set(_parameters(asked.request.body)) - {"unload_dependents"}):
        raise BadRequestError(f"parameter {given[0][:80]!r} is not here: expected unload_dependents or none")
    _loader(asked).unload(asked.name)
    return json_body({})


class _Parameters(Struct, frozen=True):
    """What Triton's clients may send along; a model is what its bundle says, so most of it has no place here."""

    parameters: dict[str, object] | None = None


def _loader(asked: Asked) -> Loader:
    loader = asked.device.loader
    assert loader is not None, "the routes that load are the management listener's, which has a loader"
    return loader


def _parameters(body: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(body, type=_Parameters).parameters if body.strip() else None
    except json_faults.FAULTS as err:
        raise BadRequestError(f'expected {{"parameters": {{…}}}} or nothing: {json_faults.told(err, body)}') from err
    return {name: value for name, value in (found or {}).items() if value is not None}
