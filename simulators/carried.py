"""Model files that carry labels, mean and std: TensorFlow Lite Metadata, and `metadata_props` of ONNX.

The flatbuffer of the metadata is written by hand, as `metadata_schema.fbs` of TensorFlow Lite Support has it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import flatbuffers
import onnx
from ai_edge_litert import schema_py_generated as schema

_RGB, _GRAY = 1, 2
_IMAGE, _NORMALIZATION = 2, 1
AXIS_LABELS, VALUE_LABELS = 2, 3


@dataclass(frozen=True)
class Said:
    """What metadata say of one tensor."""

    name: str = ""
    image: bool = False
    gray: bool | None = False
    """None where the metadata say of an image, and not of its colours."""

    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    labels: Sequence[tuple[str, int, str]] = ()
    """File, AXIS_LABELS or VALUE_LABELS, and locale of each."""


def with_metadata(
    model: bytes, inputs: Sequence[Said], outputs: Sequence[Said], files: Mapping[str, bytes | str]
) -> bytes:
    """Return a `.tflite` file with metadata of its tensors, and files in a ZIP behind it."""
    return zipped(with_buffer(model, metadata(inputs, outputs)), files)


def with_buffer(model: bytes, content: bytes) -> bytes:
    """Return a `.tflite` file with these bytes as its metadata."""
    flat = schema.ModelT.InitFromPackedBuf(model, 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(content)
    entry.name, entry.buffer = "TFLITE_METADATA", len(flat.buffers)
    flat.buffers.append(buffer)
    flat.metadata = [*(flat.metadata or []), entry]
    builder = flatbuffers.Builder()
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def zipped(model: bytes, files: Mapping[str, bytes | str]) -> bytes:
    """Return a file with a ZIP behind it."""
    data = io.BytesIO()
    data.write(model)
    if files:
        with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    return data.getvalue()


def with_properties(model: bytes, properties: Mapping[str, str]) -> bytes:
    """Return an `.onnx` file with `metadata_props`."""
    proto = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(proto, dict(properties))
    return bytes(proto.SerializeToString())


def metadata(inputs: Sequence[Said], outputs: Sequence[Said]) -> bytes:
    """Return the flatbuffer of metadata on one subgraph."""
    builder = flatbuffers.Builder()
    sides = [_vector(builder, [_tensor(builder, said) for said in side]) for side in (inputs, outputs)]
    graph = _table(builder, 11, {2: sides[0], 3: sides[1]})
    root = _table(builder, 9, {3: _vector(builder, [graph])})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, said: Said) -> int:
    fields = {0: builder.CreateString(said.name)}
    if said.image:
        builder.StartObject(2)
        builder.PrependInt8Slot(0, {None: 0, True: _GRAY, False: _RGB}[said.gray], 0)
        image = builder.EndObject()
        fields[3] = _union(builder, 3, _IMAGE, image)
    if said.mean or said.std:
        numbers = {0: _floats(builder, said.mean), 1: _floats(builder, said.std)}
        unit = _union(builder, 2, _NORMALIZATION, _table(builder, 2, numbers))
        fields[4] = _vector(builder, [unit])
    if said.labels:
        fields[6] = _vector(builder, [_file(builder, *one) for one in said.labels])
    return _table(builder, 7, fields)


def _file(builder: flatbuffers.Builder, name: str, kind: int, locale: str) -> int:
    texts = {0: builder.CreateString(name), 3: builder.CreateString(locale)}
    builder.StartObject(5)
    builder.PrependInt8Slot(2, kind, 0)
    for slot, offset in texts.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _union(builder: flatbuffers.Builder, slots: int, kind: int, value: int) -> int:
    builder.StartObject(slots)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, value, 0)
    return int(builder.EndObject())


def _table(builder: flatbuffers.Builder, slots: int, fields: Mapping[int, int]) -> int:
    builder.StartObject(slots)
    for slot, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, numbers: Sequence[float]) -> int:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependFloat32(number)
    return int(builder.EndVector())
