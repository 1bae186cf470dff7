"""The reader of what an `.onnx` file carries: its `metadata_props`, of which `properties` knows what they mean.

The file is a protocol buffer (protobuf.dev, "Encoding"), of which single fields are read and all others passed over, so
that a large file costs no memory; numbers of fields are those of `onnx.proto3`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgemm.bundle.manifest import ChannelOrder, Layout, Preprocessing, Resize
from edgemm_converter.metadata import properties
from edgemm_converter.metadata.carried import MOST_BYTES, Carried, CarriedImage
from edgemm_converter.metadata.flatbuffer import Content, MetadataError

_GRAPH, _PROPERTIES, _INPUT, _INITIALIZER, _NAME_OF_INITIALIZER = 7, 14, 11, 5, 8
_MOST_PROPERTIES, _MOST_VARINT_BYTES = 1_000, 10
_IMAGE_RANK = 4
_FOUND_IN = "metadata_props"


def read(data: Content) -> Carried | None:
    """Return what a file carries; None where it carries nothing that is read.

    Raises:
        MetadataError: the file is no protocol buffer.
    """
    found: dict[str, object] = {}
    for place, end in _fields(data, 0, len(data), _PROPERTIES):
        key, value = (_text(data, place, end, number) for number in (1, 2))
        if len(found) < _MOST_PROPERTIES:
            found[key] = properties.literal(value)
    carried = properties.carried(found, found_in=_FOUND_IN)
    normalized = properties.normalization(found)
    image = _image(data, normalized) if normalized is not None else None
    return msgspec.structs.replace(carried or Carried(), images=(image,)) if image is not None else carried


def _image(data: Content, normalized: tuple[float, tuple[float, ...], tuple[float, ...]]) -> CarriedImage | None:
    """Return the only input that may be an image, by its shape: four axes, one of which is of 1 or 3 channels."""
    images = [one for one in _inputs(data) if len(one[1]) == _IMAGE_RANK]
    if len(images) != 1:
        return None
    name, shape = images[0]
    first = shape[1] in (1, 3)
    if not first and shape[3] not in (1, 3):
        return None
    height, width, depth = (shape[2], shape[3], shape[1]) if first else (shape[1], shape[2], shape[3])
    scale, mean, std = normalized
    if {len(mean), len(std)} - {0, 1, depth}:
        raise MetadataError(
            f"mean and std of {max(len(mean), len(std))} channels for input {name!r}, which has {depth}"
        )
    steps = Preprocessing(
        resize=Resize(width=width, height=height) if height > 0 and width > 0 else None,
        channels=ChannelOrder.RGB if depth > 1 else ChannelOrder.GRAY,
        layout=Layout.CHW if first else Layout.HWC,
        scale=scale, mean=mean, std=std,
    )  # fmt: skip
    return CarriedImage(tensor=name, steps=steps, found_in=_FOUND_IN)


def _inputs(data: Content) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of each input that is no constant; −1 is an open size."""
    for place, end in _fields(data, 0, len(data), _GRAPH):
        constants = {_text(data, *one, _NAME_OF_INITIALIZER) for one in _fields(data, place, end, _INITIALIZER)}
        for begin, stop in _fields(data, place, end, _INPUT):
            name = _text(data, begin, stop, 1)
            if name not in constants:
                yield name, tuple(_shape(data, begin, stop))


def _shape(data: Content, place: int, end: int) -> Iterator[int]:
    spans = [(place, end)]
    for number in (2, 1, 2, 1):  # type, tensor_type, shape, dim
        spans = [inner for span in spans for inner in _fields(data, *span, number)]
    for begin, stop in spans:
        yield next((value for number, value, _ in _walk(data, begin, stop) if number == 1), -1)


def _text(data: Content, place: int, end: int, field: int) -> str:
    for begin, stop in _fields(data, place, end, field):
        return data[begin : min(stop, begin + MOST_BYTES)].decode("utf-8", "replace")
    return ""


def _fields(data: Content, place: int, end: int, field: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of bytes of a field: a message or a text."""
    for number, value, length in _walk(data, place, end):
        if number == field and length is not None:
            yield value, value + length


def _walk(data: Content, place: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield number and value of each field of a message; of a run of bytes, where it begins and how long it is."""
    while place < end:
        tag, place = _varint(data, place, end)
        kind, number = tag & 7, tag >> 3
        if kind == 0:
            value, place = _varint(data, place, end)
            yield number, value, None
        elif kind == 2:
            length, place = _varint(data, place, end)
            if place + length > end:
                raise MetadataError("a field that leads out of the file")
            yield number, place, length
            place += length
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise MetadataError("a field of no kind")


def _varint(data: Content, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MOST_VARINT_BYTES):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, place
    raise MetadataError("a number that is cut off")
