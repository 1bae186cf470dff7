"""The loader of a model file into the engine that its variant names."""

from __future__ import annotations

from edgemm.bundle import unknowns
from edgemm.bundle.manifest import Signature, Variant
from edgemm.errors import EngineError, EngineUnavailableError
from edgemm_runtime.engines.drivers import driver_of
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.installed import available, unavailable_reason


def load(variant: Variant, signature: Signature, model: bytes, *, threads: int = 1) -> WatchedModel:
    """Load a model file; `threads` is how many CPU threads one inference may use.

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
        session = driver_of(variant.engine).open_session(variant, model, threads)
    except EngineError as err:
        raise type(err)(f"variant {variant.id}: {err}") from err
    return SignatureModel(session, variant, signature)
