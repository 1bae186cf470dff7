"""The faults of a JSON body in plain words, with their place: the parsers' own are for programmers. Pure."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from edgemm import canonical

_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "array": "a list", "bool": "true or false", "float": "a number", "int": "an integer", "null": "null",
        "object": "an object", "str": "a text",
    }
)  # fmt: skip
_OTHER_KIND = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<found>[^`]+)`(?: - at `\$(?P<place>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`(?: - at `\$(?P<place>[^`]*)`)?")
_PLACE = re.compile(r"\(byte (\d+)\)")
_NOT_FINITE = re.compile(rb"[\[,:\s]?(-?(?:NaN|Infinity))")
_HALF = "half a surrogate pair"
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST = 100
_PIECE_BYTES = 64 * 1024
_LONGEST_VALUE = 40
FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON of a stranger may raise."""


def without_mark(body: bytes) -> bytes:
    """Return a text without the byte order mark that some editors and shells put before UTF-8 (RFC 8259, 8.1)."""
    return body[3:] if body[:3] == codecs.BOM_UTF8 else body


def spelled(value: object) -> str:
    """Return a value that came as JSON as its client spelled it, cut off where it is long; lists by their kind."""
    if value and isinstance(value, list | dict):
        return _KINDS["array" if isinstance(value, list) else "object"]
    if isinstance(value, str):
        value = value[:_LONGEST_VALUE].encode("utf-8", "backslashreplace").decode()  # JSON spells half a pair
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def told(err: Exception, body: bytes) -> str:
    """Return what is wrong with a body, of which decoding raised `err`."""
    if not body.strip():
        return "found an empty body"
    if isinstance(err, msgspec.ValidationError):
        return _of_form(str(err))
    if body.startswith(_WIDE):
        return "found UTF-16 or UTF-32: send UTF-8"
    if isinstance(err, RecursionError):
        return "found lists in lists beyond every model's"
    return _malformed(err, body)


def _malformed(err: Exception, body: bytes) -> str:
    if isinstance(err, UnicodeDecodeError):
        return f"found bytes that are no UTF-8, from byte {_first_foreign(body)} on"
    if isinstance(err, json.JSONDecodeError):
        return f"found none from character {err.pos} on"
    if (place := _PLACE.search(str(err))) is None:
        return f"found {_HALF} in a text" if canonical.lone_surrogate(body) else "found a body that is cut short"
    if "surrogate" in str(err):
        return f"found {_HALF} before byte {place[1]}"
    # A sign before it may have been read already.
    if token := _NOT_FINITE.match(body, max(0, int(place[1]) - 1)):
        return f"found {token[1].decode()} at byte {place[1]}, which JSON does not have: send CSV, or binary tensors"
    return f"found none from byte {place[1]} on"


def _first_foreign(body: bytes) -> int:
    """Return where a body is no UTF-8 any more; the parser counts from the beginning of the text that it was at."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE_BYTES):
        kept = len(decoder.getstate()[0])
        try:
            decoder.decode(body[start : start + _PIECE_BYTES], final=start + _PIECE_BYTES >= len(body))
        except UnicodeDecodeError as err:
            return start - kept + err.start
    return len(body)


def _of_form(said: str) -> str:
    if found := _OTHER_KIND.match(said):
        return f"{_place(found['place'])}expected {_kinds(found['expected'])}, found {_kinds(found['found'])}"
    if found := _MISSING.match(said):
        return f"{_place(found['place'])}{found['field']} is missing"
    if said.startswith("Number out of range"):
        return "a number is out of range"
    return said.replace("`", "").replace(" - at $", ", at ")[:_LONGEST]


def _place(place: str | None) -> str:
    """Return where it is: `inputs[0].shape: `; the parser does not count, and says `[...]`."""
    where = (place or "").replace("[...]", "[…]").strip(".")[:_LONGEST]
    return f"{where}: " if where else ""


def _kinds(text: str) -> str:
    return " or ".join(_KINDS.get(one, one) for one in text.split(" | "))
