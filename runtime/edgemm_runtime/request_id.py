"""The id of a request: its client's, in the header `X-Request-Id`, or one that the device makes. Pure.

An id of a client is taken where it is 1 to 128 visible ASCII characters; any other is passed over, for no prediction
fails for the sake of its name. One that the device makes begins with what this process drew when it started, so that it
is not given again after a restart.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from urllib.parse import quote

HEADER = "X-Request-Id"
LONGEST_ID = 128
GIVEN = HEADER.lower()
"""The header's name as heads have it."""
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
make_id: Callable[[], str] = map(f"{secrets.token_hex(5)}-".__add__, map(str, itertools.count(1))).__next__
"""Returns an id that no other request has, from any thread: without a step of Python, for every request has one."""


def is_id(text: str) -> bool:
    """Tell whether a client's text is taken as an id."""
    return 0 < len(text) <= LONGEST_ID and text.isascii() and text.isprintable() and " " not in text


def in_header(text: str) -> str:
    """Return an id as a header can carry it: percent-encoded UTF-8 where it is of other characters than a header's."""
    return text if is_id(text) else quote(text, safe=_VISIBLE, errors="replace")
