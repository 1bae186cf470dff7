"""The loader of a model file into the engine that its variant names."""

from __future__ import annotations

from functools import partial

from edgemm.bundle import unknowns
from edgemm.bundle.manifest import Signature, Variant
from edgemm.errors import EngineError, EngineUnavailableError
from edgemm_runtime.engines.drivers import driver_of
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.engines.stateful_model import StatefulModel
from edgemm_runtime.installed import available, unavailable_reason


def load(
    variant: Variant, signature: Signature, model: bytes, *, threads: int = 1, stateful: bool = False
) -> WatchedModel:
    """Load a model file; `threads` is how many CPU threads one inference may use.

    Of a `stateful` file it is one sequence, in the state that the file begins with; `fresh` begins others.

    Raises:
        EngineUnavailableError: the engine is not installed, or older than the variant's `minimum_engine`; or edgemm
            is too old for the variant or the signature.
        EngineError: the file is damaged, has operations that the engine lacks, or not the tensors of `variant`.
    """
    if reason := unavailable_reason(variant, available()):
        raise EngineUnavailableError(f"variant {variant.id} {reason}")
    if reason := unknowns.of_signature(signature):
        raise EngineUnavailableError(f"variant {variant.id} cannot be served: {reason}")
    try:
        open_session = partial(driver_of(variant.engine).open_session, variant, model, threads)
        session = open_session()
    except EngineError as err:
        raise type(err)(f"variant {variant.id}: {err}") from err
    loaded = SignatureModel(session, variant, signature)
    return StatefulModel(loaded, signature, open_session) if stateful else loaded
