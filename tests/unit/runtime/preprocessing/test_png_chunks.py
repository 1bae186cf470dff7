"""Texts and profiles of a PNG file that inflate are counted, bounded, and no work for a thread in a hurry."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from edgemm.errors import BadRequestError, TooLargeError
from edgemm_runtime.http import hurry
from edgemm_runtime.memory.memory_budget import MemoryBudget, here
from edgemm_runtime.preprocessing import image_decoding, png_chunks
from tests.unit.runtime.preprocessing.pictures import png

PICTURE = png(np.zeros((8, 8, 3), np.uint8))
BEGIN = 33
LONG = zlib.compress(b"a" * 900_000, 9)
BEFORE_LONG = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"key\0\0"}


@pytest.fixture(autouse=True)
def _no_hurry() -> Iterator[None]:
    yield
    hurry.here.hurried, here.holding = False, None


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_texts(kind: bytes, count: int) -> bytes:
    return PICTURE[:BEGIN] + chunk(kind, BEFORE_LONG[kind] + LONG) * count + PICTURE[BEGIN:]


@pytest.mark.parametrize("kind", BEFORE_LONG)
def test_a_thread_in_a_hurry_does_not_inflate_many(kind: bytes) -> None:
    hurry.here.hurried = True
    with pytest.raises(hurry.TakesLongError):
        image_decoding.decoded(with_texts(kind, 20), grey=False)
    with pytest.raises(hurry.TakesLongError):
        image_decoding.pixel_count(with_texts(kind, 20))
    assert image_decoding.decoded(PICTURE, grey=False).size == (8, 8)
    assert image_decoding.decoded(with_texts(kind, 1), grey=False).size == (8, 8)


@pytest.mark.parametrize("kind", BEFORE_LONG)
def test_what_they_become_is_counted(kind: bytes) -> None:
    here.holding = MemoryBudget(10 * 2**20).holding()
    with pytest.raises(TooLargeError):
        image_decoding.decoded(with_texts(kind, 20), grey=False)
    here.holding = MemoryBudget(40 * 2**20).holding()
    assert image_decoding.decoded(with_texts(kind, 20), grey=False).size == (8, 8)
    assert here.holding.held_bytes >= 20 * 900_000


@pytest.mark.parametrize("kind", BEFORE_LONG)
def test_more_than_are_kept_are_refused(kind: bytes) -> None:
    with pytest.raises(BadRequestError, match="save it anew"):
        image_decoding.decoded(with_texts(kind, png_chunks.MOST_INFLATED + 1), grey=False)


def test_short_ones_and_names_within_pixels_are_none() -> None:
    assert png_chunks.inflated_count(PICTURE[:BEGIN] + chunk(b"zTXt", b"key\0\0" + zlib.compress(b"a")) * 99) == 0
    assert png_chunks.inflated_count(PICTURE + b"zTXt") == 0
    with pytest.raises(ValueError, match="chunks"):
        png_chunks.inflated_count(PICTURE[:BEGIN] + chunk(b"prVt", b"") * 70_000 + chunk(b"zTXt", b""))
