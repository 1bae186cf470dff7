"""The limits for a reader of untrusted bundles, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundleLimits:
    """Limits that are checked before anything is read."""

    max_manifest_bytes: int = 4 * 1024 * 1024
    """A manifest is decoded in memory, on a device too."""

    max_bundle_bytes: int = 2**32 - 1
    """A bundle file is a ZIP without the ZIP64 extension."""


DEFAULT_LIMITS = BundleLimits()
