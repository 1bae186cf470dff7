"""The handlers of the page at `/`, on which people try the served models, and of the list that it shows.

The page is one file without models: it asks for them as any client does, with the API key that its visitor types in.
Its policy (Content Security Policy, level 3) lets no script run but its own, which is named by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from msgspec import Struct

from edgemm.bundle.manifest import Manifest, TensorSpec
from edgemm.bundle.unknowns import of_preprocessing
from edgemm.errors import NotFoundError, UnavailableError
from edgemm_runtime.http.exchange import Reply, json_body
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.pages.asked import Asked

_PAGE = Path(__file__).with_name("page.html").read_bytes()
_MEDIA_TYPE = "text/html; charset=utf-8"


class ShownTensor(Struct, frozen=True):
    """A tensor of a model; −1 in `shape` is any length."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class ShownModel(Struct, frozen=True):
    """A served model; without a version while it is still to come.

    `image` tells that `/predict` takes a photo as it is; `labels` that it names classes.
    """

    name: str
    version: str | None
    ready: bool
    inputs: tuple[ShownTensor, ...] = ()
    outputs: tuple[ShownTensor, ...] = ()
    image: bool = False
    labels: bool = False
    stateful: bool = False


class ShownModels(Struct, frozen=True):
    """The answer to `GET /models`."""

    models: tuple[ShownModel, ...]


def page(_: Asked) -> Reply:
    """Return the page."""
    return _REPLY


def models(asked: Asked) -> Reply:
    """Tell every model that is served or still to come, and how it can be asked."""
    registry = asked.device.models
    return json_body(ShownModels(tuple(_shown(registry, name) for name in registry.names())))


def _shown(registry: ModelRegistry, name: str) -> ShownModel:
    try:
        manifest = registry.get(name).manifest
    except (NotFoundError, UnavailableError):
        return ShownModel(name, None, ready=False)
    return ShownModel(
        name,
        manifest.version,
        ready=True,
        inputs=_tensors(manifest.signature.inputs),
        outputs=_tensors(manifest.signature.outputs),
        image=_takes_photos(manifest),
        labels=bool(manifest.labels),
        stateful=bool(manifest.stateful),
    )


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[ShownTensor, ...]:
    return tuple(ShownTensor(spec.name, str(spec.dtype), spec.shape) for spec in specs)


def _takes_photos(manifest: Manifest) -> bool:
    declared = list((manifest.preprocessing or {}).values())
    return len(manifest.signature.inputs) == 1 and any(
        steps.one_hot is None and of_preprocessing(steps) is None for steps in declared
    )


def _digest(tag: str) -> str:
    """Return the digest of what stands in the page's one element of this kind, as a policy names it."""
    [content] = re.findall(f"<{tag}>(.*?)</{tag}>".encode(), _PAGE, re.DOTALL)
    return "'sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode() + "'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_digest('script')}",
        f"style-src {_digest('style')}",
        "connect-src 'self'",
        "img-src blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_REPLY = Reply(
    200,
    _PAGE,
    _MEDIA_TYPE,
    (
        ("Content-Security-Policy", _POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    ),
)
