"""Image files that people have, of every kind and depth: scaled by the stated rule, or refused by name.

What is expected here was compared with OpenCV and tifffile, as the record in docs/adr says.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import ChannelOrder, Preprocessing
from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing import image, image_decoding
from edgemm_runtime.preprocessing.image_kinds import ImageKind, kind_of
from tests.unit.runtime.preprocessing.pictures import encoded, png, saved, tiff

RANDOM = np.random.default_rng(0)
WIDE = RANDOM.integers(0, 65536, (13, 11, 4), np.uint16)
BYTES = (WIDE >> 8).astype(np.uint8)
GREY = Preprocessing(channels=ChannelOrder.GRAY)
KINDS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]


def colours(data: bytes) -> np.ndarray:
    return image.decode(data, Preprocessing()).astype(np.uint8)


def greys(data: bytes) -> np.ndarray:
    return image.decode(data, GREY)[..., 0].astype(np.uint8)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_a_png_of_16_bits_is_that_of_its_higher_8(samples: int, *, interlaced: bool) -> None:
    found = colours(png(WIDE[..., :samples], interlaced=interlaced))
    assert np.array_equal(found, colours(png(BYTES[..., :samples], interlaced=interlaced)))
    expected = BYTES[..., :3] if samples > 2 else np.repeat(BYTES[..., :1], 3, axis=-1)
    assert np.array_equal(found, expected)


def test_of_16_bits_white_is_white_and_each_step_is_as_near_as_8_bits_can_be() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    for data in (png(every), tiff(every), tiff(every, order=">")):
        found = greys(data)
        assert (found[0, 0], found[-1, -1]) == (0, 255)
        assert np.abs(found - every[..., 0] / 257).max() < 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_a_tiff_of_16_bits_is_that_of_its_higher_8(samples: int, order: Literal["<", ">"]) -> None:
    expected = BYTES[..., :3] if samples > 2 else np.repeat(BYTES[..., :1], 3, axis=-1)
    assert np.array_equal(colours(tiff(WIDE[..., :samples], order=order)), expected)


def test_a_tiff_whose_zero_is_white_is_turned() -> None:
    assert np.array_equal(greys(tiff(WIDE[..., :1], tags={262: 0})), 255 - BYTES[..., 0])
    assert np.array_equal(greys(tiff(BYTES[..., :1], tags={262: 0})), 255 - BYTES[..., 0])


def test_a_tiff_of_12_bits_is_scaled_by_them() -> None:
    values = WIDE[:12, :10, 0] >> 4  # two of them in three bytes
    packed = bytearray()
    for first, second in values.reshape(-1, 2).tolist():
        packed += bytes((first >> 4, (first & 15) << 4 | second >> 8, second & 255))
    written = np.frombuffer(bytes(packed), np.uint8).reshape(12, 15, 1)
    found = greys(tiff(written, tags={256: 10, 258: 12}))
    assert np.array_equal(found, values >> 4)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("<u4", "32-bit integer"), ("<i4", "32-bit signed"), ("<i2", "16-bit signed"), ("i1", "8-bit signed"),
        ("<f2", "16-bit floating-point"), ("<f4", "32-bit floating-point"), ("<f8", "64-bit floating-point"),
        ("<u8", "64-bit integer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_depths_without_an_agreed_white_are_refused_by_name(
    dtype: str, said: str, samples: int, order: Literal["<", ">"]
) -> None:
    with pytest.raises(BadRequestError, match=said) as caught:
        colours(tiff((WIDE[..., :samples] // 512).astype(dtype), order=order))
    assert "none is known to be white: save it with 8 or 16 bits" in str(caught.value)


@pytest.mark.parametrize(
    "data", [tiff(WIDE[..., :3], planes=True), tiff(WIDE[..., :2]), tiff(WIDE[..., :1], order=">", tags={262: 0})]
)
def test_a_tiff_of_16_bits_that_pillow_does_not_read_rightly_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequestError, match=r"16-bit|× 16 bits"):
        colours(data)


def test_an_image_that_pillow_opened_is_what_its_file_is() -> None:
    for data in (png(WIDE[..., :1]), tiff(WIDE[..., :1]), tiff(WIDE[..., :1], tags={262: 0, 274: 6})):
        opened = Image.open(io.BytesIO(data))
        opened.load()
        assert np.array_equal(image_decoding.eight_bits(opened, grey=True), greys(data))


def test_a_damaged_orientation_leaves_an_image_as_it_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = saved(Image.fromarray(BYTES[..., :3]), "WEBP", exif=exif, lossless=True)
    for damaged in (made.replace(b"II*\0", b"XX*\0"), made.replace(b"MM\0*", b"XX\0*")):
        found = colours(damaged)
        assert np.array_equal(found, BYTES[..., :3]) or damaged == made


def test_a_frame_in_memory_of_another_depth_is_refused_too() -> None:
    for mode, said in (("I", "32-bit integer"), ("F", "32-bit floating-point")):
        with pytest.raises(BadRequestError, match=said):
            image_decoding.eight_bits(Image.new(mode, (2, 2)), grey=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_first_bytes_and_decoded(kind: str) -> None:
    smooth = np.stack([np.add.outer(np.arange(24), np.arange(20)) * 5 % 256] * 3, axis=-1).astype(np.uint8)
    data = encoded(kind, smooth, **({"lossless": True} if kind == "WEBP" else {}))
    assert kind_of(data) == kind
    worst = np.abs(colours(data).astype(int) - smooth).max()
    assert worst <= {"JPEG": 30, "GIF": 40}.get(kind, 0)


def test_transparency_is_left_out_whatever_holds_it() -> None:
    rgba = BYTES.copy()
    rgba[..., 3] = 0
    for data in (png(rgba), encoded("TIFF", rgba), encoded("BMP", rgba), tiff(rgba)):
        assert np.array_equal(colours(data), rgba[..., :3])
    palette = Image.fromarray(BYTES[..., :3]).quantize(16)
    shown = np.asarray(palette.convert("RGB"))
    assert np.array_equal(colours(saved(palette, "PNG", transparency=3)), shown)
    assert np.array_equal(colours(saved(palette, "GIF", transparency=3)), shown)


def test_palettes_one_bit_and_few_bits_have_their_colours() -> None:
    for count in (2, 4, 16, 200):
        palette = Image.fromarray(BYTES[..., :3]).quantize(count)
        expected = np.asarray(palette.convert("RGB"))
        for kind in ("PNG", "GIF", "BMP", "TIFF"):
            assert np.array_equal(colours(saved(palette, kind)), expected), (count, kind)
    bits = BYTES[..., 0] > 127
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(greys(saved(Image.fromarray(bits), kind)), bits * np.uint8(255)), kind


def test_cmyk_becomes_rgb_without_a_profile() -> None:
    cmyk = Image.fromarray(BYTES, "CMYK")
    ink = BYTES.astype(int)
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert np.abs(colours(saved(cmyk, "TIFF")) - expected).max() <= 1
    flat = Image.new("CMYK", (16, 16), (200, 100, 0, 50))
    assert np.abs(colours(saved(flat, "JPEG", quality=95)) - np.array([44, 125, 205])).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(colours(data), np.asarray(frames[0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_is_turned_back_in_every_kind_that_says_so(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = Image.fromarray(BYTES[..., :3])
    back = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]  # fmt: skip
    expected = np.asarray(made if back is None else made.transpose(back))
    assert np.array_equal(colours(saved(made, "PNG", exif=exif)), expected)
    assert np.array_equal(colours(saved(made, "WEBP", exif=exif, lossless=True)), expected)
    assert np.array_equal(colours(tiff(BYTES[..., :3], tags={274: orientation})), expected)
    assert np.array_equal(colours(saved(made, "TIFF", tiffinfo={274: orientation}, compression="lzw")), expected)
    deep = Image.fromarray(WIDE[..., 0])
    found = greys(saved(deep, "PNG", exif=exif))
    assert np.array_equal(found, expected[..., 0])
    assert np.array_equal(greys(tiff(WIDE[..., :1], tags={274: orientation})), expected[..., 0])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "found nothing"),
        (b"hello", "found something else"),
        (b"BMI,weight\n22.5,70", "found something else"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "found HEIC: save it as JPEG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "found AVIF"),
        (b"%PDF-1.7", "found a PDF"),
        (b"\n<!DOCTYPE html>", "found a web page"),
        (b"\x89PNG\x1a\0\0\0", "curl --data-binary"),
        (b"GIF89a", "the GIF image is damaged, cut short"),
        (b"II*\0", "the TIFF image is damaged, cut short"),
        (b"II*\0" + struct.pack("<I", 4_000_000_000), "the TIFF image is damaged, cut short"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 50, "the PNG image is damaged, cut short"),
        *[(encoded(kind, BYTES[..., :3])[:-120], f"the {kind} image .*is damaged") for kind in ("PNG", "BMP", "TIFF")],
        (encoded("JPEG", BYTES[..., :3])[:300], "the JPEG image is damaged"),
        (encoded("WEBP", BYTES[..., :3])[:60], "the WEBP image is damaged"),
    ],
)
def test_what_is_no_image_is_told_in_one_plain_line(data: bytes, said: str) -> None:
    with pytest.raises(BadRequestError, match=said) as caught:
        colours(data)
    text = str(caught.value)
    assert "\n" not in text
    assert "0x" not in text
    assert "BytesIO" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L" if kind != "WEBP" else "RGB", (101, 100)), kind)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(BadRequestError, match=r"101 × 100 pixels, at most 10,000 are decoded"):
        image_decoding.decoded(data, grey=True, most_pixels=10_000)


def test_a_side_that_is_too_long_is_refused() -> None:
    data = png(np.zeros((1, 70_000, 1), np.uint8))
    with pytest.raises(BadRequestError, match="65,535 a side"):
        colours(data)


def test_tags_of_a_tiff_cannot_claim_more_than_the_file_has() -> None:
    """A hundred tags that all lie on the same bytes, which a library copies for each."""
    inner = bytes(100_000)
    entries = b"".join(struct.pack("<HHII", 40_000 + index, 1, len(inner), 8) for index in range(100))
    data = b"II*\0" + struct.pack("<I", 8 + len(inner)) + inner + struct.pack("<H", 100) + entries + bytes(4)
    with pytest.raises(BadRequestError, match="TIFF image"):
        colours(data)
    many = struct.pack("<H", 2000) + 2000 * struct.pack("<HHII", 40_000, 1, 1, 0) + bytes(4)
    with pytest.raises(BadRequestError, match="TIFF image"):
        colours(b"II*\0" + struct.pack("<I", 8) + many)


def test_tiles_of_a_tiff_cannot_be_larger_than_an_image() -> None:
    data = tiff(BYTES[..., :1], tags={322: 30_000, 323: 30_000})
    with pytest.raises(BadRequestError, match="tiles of more than 25,000,000 pixels"):
        colours(data)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_are_an_image_or_one_line(kind: str) -> None:
    whole = bytearray(encoded(kind, BYTES[..., :3]))
    for _ in range(150):
        damaged = bytearray(whole)
        for place in RANDOM.integers(0, len(whole), 4):
            damaged[place] = RANDOM.integers(0, 256)
        try:
            found = image_decoding.decoded(bytes(damaged), grey=False, most_pixels=1_000_000)
        except BadRequestError as err:
            assert "\n" not in str(err)  # noqa: PT017 - either is right
        else:
            assert found.mode == "RGB"


def test_pillow_says_nothing_of_an_image_and_python_remembers_nothing() -> None:
    claims = bytearray(encoded("BMP", BYTES[..., 0]))
    for width in range(9_000, 9_003):
        claims[18:26] = struct.pack("<II", width, 10_000)  # enough for a warning, not for an error
        with pytest.raises(BadRequestError, match=f"{width} × 10000 pixels"):
            colours(bytes(claims))
    assert not [key for key in vars(Image).get("__warningregistry__", {}) if "90" in str(key)]


def test_libtiff_writes_nothing_of_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        whole = bytearray(saved(Image.fromarray(BYTES[..., :3]), "TIFF", compression=compression))
        for place in range(8, 200, 16):
            damaged = whole.copy()
            damaged[place : place + 8] = b"\xff\x00" * 4
            with suppress(BadRequestError):
                colours(bytes(damaged))
    assert capfd.readouterr().err == ""


def test_every_kind_that_is_known_has_a_decoder() -> None:
    Image.init()
    assert set(ImageKind) <= set(Image.OPEN)
    assert kind_of(io.BytesIO(b"BM").getvalue()) is None
