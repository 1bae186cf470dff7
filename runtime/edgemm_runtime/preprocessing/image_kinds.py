"""The kinds of image files, told by their first bytes, whatever a name or a content type says. Pure.

    kind_of(data)    # ImageKind.PNG, or None
    found(data)      # "HEIC": what a message calls it

Two letters make no bitmap: a table whose first column is called `BMI` begins with `BM` as well, so the header behind
them is looked at.
"""

from __future__ import annotations

from enum import StrEnum


class ImageKind(StrEnum):
    """A kind that is decoded, by Pillow's name for it."""

    JPEG = "JPEG"
    PNG = "PNG"
    GIF = "GIF"
    BMP = "BMP"
    WEBP = "WEBP"
    TIFF = "TIFF"


NAMES = "JPEG, PNG, GIF, BMP, WebP or TIFF"
"""The kinds as a message lists them."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""The endings of files that are taken for images in a folder."""

_STARTS = (
    (b"\xff\xd8\xff", ImageKind.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageKind.PNG),
    (b"GIF87a", ImageKind.GIF),
    (b"GIF89a", ImageKind.GIF),
    (b"II*\x00", ImageKind.TIFF),
    (b"MM\x00*", ImageKind.TIFF),
    (b"II+\x00", ImageKind.TIFF),
    (b"MM\x00+", ImageKind.TIFF),
)
_BITMAP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_FOREIGN = (
    (b"\x89PNG", "a PNG whose line ends were changed on the way: send it with curl --data-binary, not -d"),
    (b"%PDF", "a PDF"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL", "JPEG XL"),
    (b"8BPS", "a file of Photoshop"),
)
_TEXTS = ((b"<svg", "an SVG"), (b"<?xml", "XML"), (b"<!DOCTYPE", "a web page"), (b"<html", "a web page"))
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}


def kind_of(data: bytes) -> ImageKind | None:
    """Return what image file begins so; None where it is none of those that are decoded."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageKind.WEBP
    if data[:2] == b"BM" and len(data) > 18 and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return ImageKind.BMP
    return None


def foreign(data: bytes) -> str | None:
    """Return what image of another kind begins so; None where it is none."""
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return f"{_BRANDS[data[8:12]]}: save it as JPEG"
    return next((name for start, name in _FOREIGN if data.startswith(start)), None)


def found(data: bytes) -> str:
    """Return what a message calls bytes that are no image of the kinds that are decoded."""
    if not data:
        return "nothing"
    begins = data[:100].lstrip()
    text = next((name for start, name in _TEXTS if begins.startswith(start)), None)
    return foreign(data) or text or "something else"
