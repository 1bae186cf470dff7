"""The chunks of a PNG file that its decoder inflates before the size of the picture is known. Pure.

Pillow inflates each to at most a mebibyte when it opens the file, before anybody knows how large the image is: fifty
kilobytes of them take a fifth of a second, and as many megabytes as there are.
"""

from __future__ import annotations

INFLATED_BYTES = 1024 * 1024
"""What each becomes at most."""
MOST_INFLATED = 64
"""Pillow keeps no more of them."""
_SIGNATURE_BYTES = 8
_AROUND_BYTES = 12
_MOST_CHUNKS = 64 * 1024
_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP")
_SMALL_BYTES = 256


def inflated_count(data: bytes) -> int:
    """Return how many parts of a PNG file are inflated beside its pixels; short ones, which become little, are not.

    Raises:
        ValueError: it has more chunks than any image, or more of these than are read.
    """
    if not any(kind in data for kind in _COMPRESSED):
        return 0
    count, at = 0, _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        size = int.from_bytes(data[at : at + 4], "big")
        count += size > _SMALL_BYTES and data[at + 4 : at + 8] in _COMPRESSED
        at += size + _AROUND_BYTES
        if at >= len(data):
            break
    else:
        raise ValueError("more chunks than any image has")
    if count > MOST_INFLATED:
        raise ValueError("more compressed texts than are read")
    return count
