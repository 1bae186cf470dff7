"""The oldest runtime that may serve a bundle, by what its manifest uses. Pure.

A field that an old runtime must not ignore names here the version that knows it. A bundle that uses none of them stays
servable by every runtime.
"""

from __future__ import annotations

from collections.abc import Callable

from edgemm.bundle.manifest import DType, Manifest
from edgemm.versions import Version

FIRST = "0.1.0"
"""What a bundle needs that uses nothing newer."""

_MOST_INPUTS_BEFORE = 64
"""How many inputs an older runtime takes."""

Feature = tuple[str, Callable[[Manifest], bool]]
"""The version that brought a feature, and whether a manifest uses it."""


def _resizes_otherwise(manifest: Manifest) -> bool:
    """An older runtime would make another array of the same image."""
    sizes = (steps.resize for steps in (manifest.preprocessing or {}).values() if steps.resize is not None)
    return any(resize.kernel or resize.pad_colour or resize.pad_place for resize in sizes)


def _has_labels_of_something_else(manifest: Manifest) -> bool:
    """An older runtime would take an output that happens to have as many values for scores."""
    count = len(manifest.labels or ())
    return bool(manifest.labels_of) and any(spec.shape[-1:] == (count,) for spec in manifest.signature.outputs)


def _has_lengths_of_data(manifest: Manifest) -> bool:
    """An older runtime would take an answer without any entry for a failure of the engine."""
    given = [spec.shape for spec in manifest.signature.inputs]
    open_first, open_inside = any(s[:1] == (-1,) for s in given), any(-1 in s[1:] for s in given)
    shapes = [spec.shape for spec in manifest.signature.outputs]
    return any((s[:1] == (-1,) and not open_first) or (-1 in s[1:] and not open_inside) for s in shapes)


def _has_strings(manifest: Manifest) -> bool:
    """An older runtime knows no such dtype."""
    signature = manifest.signature
    return any(spec.dtype is DType.STRING for spec in (*signature.inputs, *signature.outputs))


_FEATURES: tuple[Feature, ...] = (
    ("0.2.0", _resizes_otherwise),
    ("0.2.0", _has_labels_of_something_else),
    ("0.2.0", lambda manifest: bool(manifest.stateful)),
    ("0.2.0", _has_lengths_of_data),
    ("0.2.0", lambda manifest: bool(manifest.golden.sampled or manifest.golden.deflated)),
    ("0.3.0", _has_strings),
    ("0.3.0", lambda manifest: len(manifest.signature.inputs) > _MOST_INPUTS_BEFORE),
)


def of(manifest: Manifest, features: tuple[Feature, ...] = _FEATURES) -> str:
    """Return the version of the oldest runtime that knows all that a manifest uses."""
    needed = [version for version, uses in features if uses(manifest)]
    return max((FIRST, *needed), key=Version)
