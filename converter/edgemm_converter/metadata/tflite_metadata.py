"""The reader of what a `.tflite` file carries: TensorFlow Lite Metadata, and Ultralytics' `metadata.json`.

Metadata are a flatbuffer in a buffer of the model (`TFLITE_METADATA`, schema `metadata_schema.fbs` of TensorFlow Lite
Support, `M001`). Files that it names, such as labels, lie in a ZIP behind the model, and so does `metadata.json`.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

from edgemm.bundle.manifest import ChannelOrder, Preprocessing, Resize, ResizeKernel
from edgemm_converter.metadata import properties
from edgemm_converter.metadata.carried import MOST_BYTES, MOST_LABELS, Carried, CarriedImage, CarriedLabels
from edgemm_converter.metadata.flatbuffer import Content, MetadataError, Table

_METADATA = "TFLITE_METADATA"
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_IMAGE, _GRAYSCALE, _NORMALIZATION = 2, 2, 1
_IMAGE_AXES = 4
_UINT8 = 3
_END_OF_ZIP, _MOST_END_BYTES = b"PK\x05\x06", 66_000
"""A ZIP ends in a record of 22 bytes and a comment of at most 64 KiB."""

_MOST_TAIL_BYTES = 16 << 20
"""Of the file, in which its ZIP lies: no more is held in memory."""

_ZIP_FAILURES = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError,
)  # fmt: skip


def read(data: Content) -> Carried | None:
    """Return what a file carries; None where it carries nothing.

    Raises:
        MetadataError: the model itself is damaged.
    """
    root = Table.root(data)
    graph = next(iter(root.tables(2)), None)
    content = _content(root)
    archive = _Archive(data)
    if graph is None:
        return None
    if content is None:
        return _of_ultralytics(archive)
    try:
        said = Table.root(content).tables(3)
        return _of_tensors(said[0], graph, archive) if said else None
    except MetadataError as err:
        return Carried(unread=(f"{_METADATA}: {err}",))


def _content(root: Table) -> bytes | None:
    for entry in root.tables(6):
        if entry.text(0) == _METADATA:
            buffers, number = root.tables(4), entry.integer(1, "<I")
            if number < len(buffers):
                return buffers[number].content(0, most=MOST_BYTES)
    return None


class _Archive:
    """The ZIP at the end of a model, of which only files are unpacked that are asked for, each of at most 1 MiB."""

    def __init__(self, data: Content) -> None:
        self._archive: zipfile.ZipFile | None = None
        tail = data[-_MOST_TAIL_BYTES:]
        if _END_OF_ZIP in tail[-_MOST_END_BYTES:]:
            with suppress(*_ZIP_FAILURES):
                self._archive = zipfile.ZipFile(BytesIO(tail))  # which may lie behind anything

    def read(self, name: str) -> bytes | None:
        """Return a file; None where there is none, or one that is damaged or too large."""
        if self._archive is None:
            return None
        try:
            # What an entry says of its size may be a lie, so no more is unpacked than may be there.
            with self._archive.open(name) as file:
                found = file.read(MOST_BYTES + 1)
        except _ZIP_FAILURES:
            return None
        return found if len(found) <= MOST_BYTES else None


def _of_ultralytics(archive: _Archive) -> Carried | None:
    for name in ("metadata.json", "temp_meta.txt"):
        if (text := archive.read(name)) is not None:
            found = properties.literal(text.decode("utf-8", "replace"))
            return properties.carried(found, found_in=name) if isinstance(found, dict) else None
    return None


def _of_tensors(said: Table, graph: Table, archive: _Archive) -> Carried:
    tensors = graph.tables(0)
    images: list[CarriedImage] = []
    unread: list[str] = []
    sides = {"inputs": (graph.numbers(1, "<i"), said.tables(2)), "outputs": (graph.numbers(2, "<i"), said.tables(3))}
    for side, (places, metadata) in sides.items():
        if metadata and len(metadata) != len(places):
            unread.append(f"{_METADATA} of {len(metadata)} {side}: the model has {len(places)}")
    for tensor, about in _paired(tensors, *sides["inputs"]):
        try:
            steps = _image(tensor, about)
        except MetadataError as err:
            unread.append(f"{_METADATA}: {err}")
            continue
        if steps is not None:
            images.append(CarriedImage(tensor=tensor.text(3), steps=steps, found_in=_METADATA))
    labels = None
    for tensor, about in _paired(tensors, *sides["outputs"]):
        labels = labels or _labels(tensor, about, archive, unread)
    return Carried(labels=labels, images=tuple(images), unread=tuple(unread))


def _paired(tensors: list[Table], places: tuple[float, ...], said: list[Table]) -> Iterator[tuple[Table, Table]]:
    """Yield each tensor of one side with what is said of it; the metadata have the order of the graph."""
    if len(said) == len(places):
        for place, about in zip(places, said, strict=True):
            if 0 <= place < len(tensors):
                yield tensors[int(place)], about


def _image(tensor: Table, about: Table) -> Preprocessing | None:
    """Return how an input is made of an image; None where it is none of height, width and channels."""
    content = about.table(3)
    said = content.table(1) if content is not None and content.integer(0, "<B") == _IMAGE else None
    shape = tuple(int(side) for side in tensor.numbers(0, "<i"))
    mean, std = _normalization(about)
    like_one = len(shape) == _IMAGE_AXES and shape[-1] in (1, 3)
    if said is None and not (like_one and (mean or std)):
        return None
    space = said.integer(0, "<b") if said is not None else 0
    gray = space == _GRAYSCALE or (not space and like_one and shape[-1] == 1)
    channels = ChannelOrder.GRAY if gray else ChannelOrder.RGB
    resize: Resize | None = None
    if len(shape) == _IMAGE_AXES and shape[1] > 1 and shape[2] > 1:
        resize = Resize(width=shape[2], height=shape[1], kernel=ResizeKernel.BILINEAR)
    if tensor.integer(1, "<b") == _UINT8:
        mean, std = _as_they_are(tensor)
    if any(not math.isfinite(number) for number in (*mean, *std)) or any(number <= 0 for number in std):
        raise MetadataError(f"mean {mean} and std {std} of an input")
    return Preprocessing(resize=resize, channels=channels, mean=mean, std=std)


def _normalization(about: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in about.tables(4):
        options = unit.table(1) if unit.integer(0, "<B") == _NORMALIZATION else None
        if options is not None:
            return options.numbers(0, "<f"), options.numbers(1, "<f")
    return (), ()


def _as_they_are(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std by which each pixel becomes its own code, as the TFLite Task Library feeds uint8 inputs."""
    quantization = tensor.table(4)
    scales = quantization.numbers(2, "<f") if quantization is not None else ()
    if quantization is None or len(scales) != 1 or not scales[0] > 0:
        return (), ()
    zero = next(iter(quantization.numbers(3, "<q")), 0.0)
    return (float(zero),), (1 / scales[0],)


def _labels(tensor: Table, about: Table, archive: _Archive, unread: list[str]) -> CarriedLabels | None:
    files = [file for file in about.tables(6) if file.integer(2, "<b") in (_AXIS_LABELS, _VALUE_LABELS)]
    # Without a locale first, then English: there may be a file for each language.
    files.sort(key=lambda file: (file.text(3) != "", not file.text(3).startswith("en")))
    for file in files:
        name = file.text(0)
        if (text := archive.read(name)) is None:
            unread.append(f"labels {name!r}, which the file names and does not hold whole, or which are over 1 MiB")
            continue
        lines = text.decode("utf-8-sig", "replace").splitlines()
        names = [line.strip() for line in "\n".join(lines).rstrip().splitlines()]
        if not 0 < len(names) <= MOST_LABELS:
            unread.append(f"labels {name!r}: {len(names):,} lines, expected 1 to {MOST_LABELS:,}")
            continue
        return CarriedLabels(
            names=tuple(names), found_in=name, tensor=tensor.text(3),
            are_of_values=file.integer(2, "<b") == _VALUE_LABELS,
        )  # fmt: skip
    return None
