"""The loader of a model file into the engine that its variant names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import cast

from edgemm.bundle.manifest import Signature, Variant
from edgemm.errors import EngineError, EngineUnavailableError
from edgemm_runtime.engines.interface import Session, WatchedModel
from edgemm_runtime.engines.signature_model import SignatureModel
from edgemm_runtime.installed import available, entry_of, unavailable_reason


def load(variant: Variant, signature: Signature, model: bytes, *, threads: int = 1) -> WatchedModel:
    """Load a model file; `threads` is how many CPU threads one inference may use.

    Raises:
        EngineUnavailableError: the engine is not installed, or older than the variant's `minimum_engine`.
        EngineError: the file is damaged, has operations that the engine lacks, or not the tensors of `variant`.
    """
    if reason := unavailable_reason(variant, available()):
        raise EngineUnavailableError(f"variant {variant.id} {reason}")
    try:
        session = open_session(variant, model, threads=threads)
    except EngineError as err:
        raise type(err)(f"variant {variant.id}: {err}") from err
    return SignatureModel(session, variant, signature)


def open_session(variant: Variant, model: bytes, *, threads: int) -> Session:
    """Load a model file by its own tensors, in an engine that is installed.

    Raises:
        EngineUnavailableError: the engine does not import.
        EngineError: the file is damaged, has operations that the engine lacks, or not the tensors of `variant`.
    """
    entry = entry_of(variant.engine)
    keep_to_itself()
    try:
        opener = importlib.import_module(entry.module).open_session
    except ImportError as err:
        raise EngineUnavailableError(
            f"{entry.distribution} is installed but does not import ({err}): reinstall it"
        ) from err
    return cast("Callable[[Variant, bytes, int], Session]", opener)(variant, model, threads)


def keep_to_itself() -> None:
    """Have engines tell nobody what they load; before one is imported.

    ONNX Runtime from 1.29 on tells its maker what models it loads, unless this is set.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
