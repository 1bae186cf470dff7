"""Images in text: base64 as people and programs write it, and data URLs. Pure.

* Base64 may be wrapped in lines, of the alphabet for URLs (RFC 4648, section 5), and without padding.
* A data URL (RFC 2397) may be base64 or percent-encoded, of any media type.
* In JSON, an image is such a text, or `{"b64": text}`, as TensorFlow Serving writes bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from edgemm.errors import BadRequestError
from edgemm_runtime.tensors import pieces

_KEY = "b64"
_URL = b"data:"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f\v"
_FOREIGN = re.compile(rb"[^A-Za-z0-9+/]")


def is_encoded(value: Any) -> bool:
    """Tell whether a value in JSON is `{"b64": …}`."""
    return isinstance(value, dict) and list(value) == [_KEY]


def in_json(value: Any, *, texts: bool) -> list[bytes] | None:
    """Return the files of one image, or of a list of images, in JSON; None where the value is something else.

    A bare text counts as an image with `texts` alone.

    Raises:
        BadRequestError: a text is no base64 and no data URL, or something else stands among images.
    """
    listed = value if isinstance(value, list) else [value]
    if not listed or not (is_encoded(listed[0]) or (texts and isinstance(listed[0], str))):
        return None
    files = []
    for number, item in enumerate(listed, start=1):
        text = item[_KEY] if is_encoded(item) else item
        if not isinstance(text, str):
            which = f"image {number}: " if len(listed) > 1 else ""
            raise BadRequestError(
                f'{which}expected base64 of an image file as text or {{"b64": text}}, found another value'
            )
        files.append(from_text(text))
    return files


def is_url(data: bytes) -> bool:
    """Tell whether a body is a data URL."""
    return data[:5].lower() == _URL


def from_text(text: str | bytes) -> bytes:
    """Return the bytes of a file that base64 or a data URL stands for.

    Raises:
        BadRequestError: it is neither.
    """
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    data = data.strip()
    if is_url(data):
        head, comma, data = data.partition(b",")
        if not comma:
            raise BadRequestError("expected a data URL, data:image/png;base64,…, found one without a comma")
        data = unquote_to_bytes(data) if b"%" in data or not head.lower().endswith(b";base64") else data
        if not head.lower().endswith(b";base64"):
            return data
    plain = b"".join([block.translate(_TO_STANDARD, _BLANKS) for block in pieces.blocks(data)]).rstrip(b"=")
    try:
        return b"".join([_decoded(block) for block in pieces.blocks(plain)])
    except binascii.Error as err:
        raise BadRequestError("expected base64 of an image file, found one that is cut short") from err


def _decoded(block: bytes) -> bytes:
    if (foreign := _FOREIGN.search(block)) is not None:
        found = foreign[0].decode("latin-1")
        raise BadRequestError(f"expected base64 of an image file, found the character {found!r} in it")
    return base64.b64decode(block + b"=" * (-len(block) % 4))
