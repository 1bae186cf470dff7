"""The identity of a served model, by which everything that is counted is kept apart."""

from __future__ import annotations

import msgspec


class ServedKey(msgspec.Struct, frozen=True):
    """A model's name and version, the digest of its bundle, and the variant that runs."""

    name: str
    version: str
    digest: str
    variant: str
