"""Lists as PostgreSQL reads them in a text: `{"a","b"}`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BETWEEN = '","'
_HEX = '"\\\\x'
"""What begins bytes in hex; the backslash is doubled, as it is within quotes."""


def written_array(values: Sequence[Any]) -> bytes | None:
    """Return the text of a list of texts, bytes or numbers; None for one that must be written value by value.

    That is one with nothing in it, with values of several kinds, with lists, with None, or with texts that have what
    is escaped within quotes: quotes, backslashes and U+0000.
    """
    kinds = set(map(type, values))
    if kinds == {str}:
        text = _BETWEEN.join(values)
        plain = "\\" not in text and "\0" not in text and text.count('"') == 2 * (len(values) - 1)
        return f'{{"{text}"}}'.encode() if plain else None
    if kinds == {bytes}:
        return f"{{{','.join([f'{_HEX}{one.hex()}{chr(34)}' for one in values])}}}".encode()
    return f"{{{','.join(map(repr, values))}}}".encode() if kinds in ({int}, {float}) else None
