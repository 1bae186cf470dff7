"""Tensors of type BYTES in the Open Inference Protocol v2, each element an image file. Pure.

In JSON an element is a text, base64 or a data URL. Behind the JSON it is four bytes of length, little-endian, and so
many bytes: the file itself, or its base64.

Source: the binary tensor extension of the protocol, "the length of the byte-string element".
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import msgspec
from msgspec import UnsetType

from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing import encoded_images, image_kinds

DATATYPE = "BYTES"
_LENGTH = 4


class BytesTensor(Protocol):
    """An input of a request, as its JSON describes it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, of which the product is the number of elements."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters."""

    @property
    def data(self) -> msgspec.Raw | UnsetType:
        """Its elements, where they are in the JSON."""


def read(tensor: BytesTensor, behind: memoryview) -> tuple[list[bytes], int]:
    """Return the files of a tensor, and how many bytes of those `behind` the JSON it takes.

    Raises:
        BadRequestError: it has no such elements, or another number of them than its shape says.
    """
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == isinstance(tensor.data, UnsetType):
        found = "neither" if size is None else "both"
        raise BadRequestError(f"input {tensor.name!r}: expected data or binary_data_size, found {found}")
    if not isinstance(tensor.data, UnsetType):
        files = _listed(bytes(tensor.data), tensor.name)
    else:
        if type(size) is not int or not 0 <= size <= len(behind):
            raise BadRequestError(
                f"input {tensor.name!r}: expected binary_data_size up to the {len(behind):,} bytes after the JSON, "
                f"found {str(size)[:40]}"
            )
        files = _elements(behind[:size], tensor.name)
    if min(tensor.shape, default=1) < 0 or math.prod(tensor.shape) != len(files):
        shape = str(list(tensor.shape))[:80]
        raise BadRequestError(
            f"input {tensor.name!r}: shape {shape} says how many images there are, found {len(files)}"
        )
    return files, size or 0


def _listed(raw: bytes, name: str) -> list[bytes]:
    try:
        stack = [msgspec.json.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequestError(f"input {name!r}: expected a list of texts in base64, found no JSON") from err
    files = []
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, str):
            files.append(encoded_images.from_text(item))
        else:
            raise BadRequestError(f"input {name!r}: expected texts in base64, found {str(item)[:40]}")
    return files


def _elements(data: memoryview, name: str) -> list[bytes]:
    files, position = [], 0
    while position < len(data):
        start = position + _LENGTH
        length = int.from_bytes(data[position:start], "little")
        if start + length > len(data):
            raise BadRequestError(
                f"input {name!r}: expected elements of type BYTES, each its length in four bytes and so many bytes, "
                "found one that is cut short"
            )
        files.append(_file(bytes(data[start : start + length])))
        position = start + length
    return files


def _file(element: bytes) -> bytes:
    """Return an element as a file; one that is no image may be its base64."""
    if image_kinds.kind_of(element) is not None:
        return element
    try:
        return encoded_images.from_text(element)
    except BadRequestError:
        return element
