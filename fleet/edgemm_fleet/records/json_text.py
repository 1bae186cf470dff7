"""The JSON that the store keeps of a value: what is written is read back first, by the reader's own schema.

A number that is too large, or a text that is too long, is then refused before it is stored, and not found in the
database by whoever needs it. Reading raises what `edgemm_fleet.store.quarantine.UNREADABLE` names.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import msgspec

from edgemm.errors import MessageError


def written(value: Any, kind: Any = None) -> str:
    """Return a value as the store keeps it; `kind` where its class does not say what the reader expects.

    Raises:
        MessageError: it could not be read back.
    """
    data = msgspec.json.encode(value)
    expected: Any = type(value) if kind is None else kind
    try:
        _decoder(expected).decode(data)
    except msgspec.DecodeError as err:
        raise MessageError(f"{type(value).__name__}: it could not be read back, and is not stored: {err}") from err
    return data.decode()


def read(text: Any, kind: Any) -> Any:
    """Return what `written` kept."""
    return _decoder(kind).decode(text)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
