"""The oldest runtime that may serve a bundle, by what its manifest uses. Pure.

A field that an old runtime must not ignore names here the version that knows it. A bundle that uses none of them stays
servable by every runtime.
"""

from __future__ import annotations

from collections.abc import Callable

from edgemm.bundle.manifest import Manifest
from edgemm.versions import Version

FIRST = "0.1.0"
"""What a bundle needs that uses nothing newer."""

Feature = tuple[str, Callable[[Manifest], bool]]
"""The version that brought a feature, and whether a manifest uses it."""

_FEATURES: tuple[Feature, ...] = ()


def of(manifest: Manifest, features: tuple[Feature, ...] = _FEATURES) -> str:
    """Return the version of the oldest runtime that knows all that a manifest uses."""
    needed = [version for version, uses in features if uses(manifest)]
    return max((FIRST, *needed), key=Version)
