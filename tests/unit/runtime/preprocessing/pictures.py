"""Image files of every kind and depth, written here where Pillow does not write them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
from PIL import Image

_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as Pillow writes it."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def encoded(kind: str, pixels: np.ndarray, **options: Any) -> bytes:
    """Return pixels of 8 bits as Pillow writes them."""
    return saved(Image.fromarray(pixels), kind, **options)


def png(pixels: np.ndarray, *, interlaced: bool = False) -> bytes:
    """Return uint8 or uint16 [height, width, 1 to 4] as a PNG, interlaced (Adam7) if that is wanted."""
    height, width, depth = pixels.shape
    passes = [pixels[top::down, left::right] for top, left, down, right in _ADAM7] if interlaced else [pixels]
    wide = pixels.dtype.newbyteorder(">")
    rows = b"".join(b"\0" + row.astype(wide).tobytes() for part in passes if part.size for row in part)
    bits = pixels.dtype.itemsize * 8
    head = struct.pack(">IIBBBBB", width, height, bits, _COLOURS[depth], 0, 0, int(interlaced))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def tiff(
    pixels: np.ndarray, *, order: Literal["<", ">"] = "<", tags: dict[int, int] | None = None, planes: bool = False
) -> bytes:
    """Return pixels [height, width, samples] of any dtype as an uncompressed TIFF; `tags` stand in place of others."""
    height, width, samples = pixels.shape
    stored = np.moveaxis(pixels, -1, 0) if planes else pixels
    data = stored.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = pixels.dtype.itemsize * 8
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    wanted = {
        256: width, 257: height, 258: bits, 259: 1, 262: 2 if samples >= 3 else 1, 273: 8, 277: samples, 278: height,
        279: len(data), 284: 2 if planes else 1, 339: form,
    }  # fmt: skip
    if samples in {2, 4}:
        wanted[338] = 2
    entries, behind = [], b""
    after = 8 + len(data)
    for tag, value in sorted((wanted | (tags or {})).items()):
        many = {258: samples, 339: samples}.get(tag, 1)
        plane = {273: samples, 278: 1, 279: samples}.get(tag, 1) if planes else 1
        if plane > 1:
            one = len(data) // samples
            values = [8 + index * one for index in range(samples)] if tag == 273 else [one] * samples
            entries.append((tag, 4, samples, struct.pack(f"{order}I", after + len(behind))))
            behind += struct.pack(f"{order}{samples}I", *values)
        elif many > 2:
            entries.append((tag, 3, many, struct.pack(f"{order}I", after + len(behind))))
            behind += struct.pack(f"{order}{many}H", *[value] * many)
        elif tag in {258, 339, 338, 259, 262, 277, 284, 274}:
            entries.append((tag, 3, many, struct.pack(f"{order}{many}H", *[value] * many).ljust(4, b"\0")))
        else:
            entries.append((tag, 4, 1, struct.pack(f"{order}I", value)))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(
        struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", after + len(behind))
    return head + data + behind + directory + bytes(4)
