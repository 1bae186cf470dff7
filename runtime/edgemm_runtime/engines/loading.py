"""Loading a model file into the engine that its variant names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import cast

from edgemm.errors import EngineError, EngineUnavailableError
from edgemm.manifest import Signature, Variant
from edgemm_runtime.engines.model import Session, WatchedModel
from edgemm_runtime.engines.served import SignatureModel
from edgemm_runtime.installed import ENGINES, available, unavailable_reason


def load(variant: Variant, signature: Signature, model: bytes, *, threads: int = 1) -> WatchedModel:
    """Load a model file; `threads` is how many CPU threads one inference may use.

    Raises:
        EngineUnavailableError: the engine is not installed, or older than the variant's `minimum_engine`.
        EngineError: the file is damaged, has operations that the engine lacks, or not the tensors of `variant`.
    """
    if reason := unavailable_reason(variant, available()):
        raise EngineUnavailableError(f"variant {variant.id} {reason}")
    entry = ENGINES[variant.engine]
    # ONNX Runtime from 1.29 on tells its maker what models it loads, unless this is set before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        opener = importlib.import_module(entry.module).open_session
    except ImportError as err:
        raise EngineUnavailableError(
            f"variant {variant.id}: {entry.distribution} is installed but does not import ({err}): reinstall it"
        ) from err
    open_session = cast("Callable[[Variant, bytes, int], Session]", opener)
    try:
        session = open_session(variant, model, threads)
    except EngineError as err:
        raise EngineError(f"variant {variant.id}: {err}") from err
    return SignatureModel(session, variant, signature)
