"""Text files that a user wrote, as UTF-8: a byte order mark in front is not part of the text, UTF-16 is named. Pure.

Windows' editors and shells put a byte order mark before UTF-8, or write UTF-16, and neither can be seen.
"""

from __future__ import annotations

import codecs

from edgemm.errors import InputError

_WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # first: it begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SAVE_AGAIN = "save it as UTF-8"


def without_mark(data: bytes, *, name: str) -> bytes:
    """Return the bytes of UTF-8 text without a byte order mark; `name` is what errors call it.

    Raises:
        InputError: they are UTF-16 or UTF-32, by their own mark or by zero bytes beside their first characters.
    """
    wide = next((what for mark, what in _WIDE if data.startswith(mark)), None)
    if wide is None and len(data) > 1 and (data[0] == 0) != (data[1] == 0):
        wide = "UTF-16"  # without a mark, of a character that ASCII has too
    if wide is not None:
        raise InputError(f"{name}: expected text in UTF-8, found {wide}: {_SAVE_AGAIN}")
    return data.removeprefix(codecs.BOM_UTF8)


def read(data: bytes, *, name: str) -> str:
    """Return the text in `data`, without a byte order mark; `name` is what errors call it.

    Raises:
        InputError: it is not UTF-8; says in which line.
    """
    plain = without_mark(data, name=name)
    try:
        return plain.decode()
    except UnicodeDecodeError as err:
        line = plain.count(b"\n", 0, err.start) + 1
        raise InputError(
            f"{name}, line {line}: expected text in UTF-8, found the byte 0x{plain[err.start]:02x}: {_SAVE_AGAIN}"
        ) from err
