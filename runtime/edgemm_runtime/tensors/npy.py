"""NumPy's `.npy` and `.npz` files: read without pickle, and never larger than their bytes.

A blob is a `.npy` of format 1.0; strings are NumPy's text of fixed width (`<U12`), which cannot end in NUL. A file of a
user may have any format that holds numbers; a header of a hundred bytes can claim terabytes, and a ZIP of a few
kilobytes hold gigabytes, so that both are asked before room is made for them.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from edgemm import library_errors
from edgemm.errors import BundleError, InputError
from edgemm_runtime.tensors.element_types import OBJECT, from_text
from edgemm_runtime.tensors.named_arrays import Array

UNNAMED = ""
"""The name of the array of a `.npy` file."""

_ARRAY_SUFFIX = ".npy"
_ZIP = b"PK"
_MAGIC = b"\x93NUMPY"


def read_npy(data: bytes, *, name: str) -> Array:
    """Return the array in `data`; `name` says in errors whose it is.

    Raises:
        BundleError: not a `.npy` file, of Python objects, or with another number of bytes than its shape needs.
    """
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise BundleError(f"{name}: expected a .npy array of format 1.0, found a later one")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, TypeError, SyntaxError, EOFError) as err:
        raise BundleError(f"{name}: not a .npy array: {library_errors.quoted(err)}") from err
    if dtype.hasobject:
        raise BundleError(f"{name}: expected an array of numbers, found one of Python objects")
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if min(shape, default=0) < 0 or expected != found:
        raise BundleError(f"{name}: shape {list(shape)} of {dtype} needs {expected:,} bytes, found {found:,}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def read_strings(data: bytes, *, name: str) -> Array:
    """Return the array of strings in `data`, a `.npy` file of NumPy's fixed-width text, as objects.

    Raises:
        BundleError: as `read_npy`, or it is of something else, or of characters that there are not.
    """
    array = read_npy(data, name=name)
    if array.dtype.kind != "U":
        raise BundleError(f"{name}: expected strings, found {array.dtype}")
    try:
        found = from_text(array)
        "".join(found.ravel().tolist()).encode()
    except ValueError as err:
        raise BundleError(f"{name}: expected text of Unicode, found a number that is no character") from err
    return found


def inflated(data: bytes, *, most: int, name: str) -> bytes:
    """Return what a zlib stream (RFC 1950) unpacks to; `most` is how many bytes it may be.

    Raises:
        BundleError: it is damaged, cut short or unpacks to more.
    """
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, most)
    except zlib.error as err:
        raise BundleError(f"{name}: not a zlib stream: {library_errors.quoted(err)}") from err
    if not stream.eof or stream.unused_data:
        raise BundleError(f"{name}: expected a whole zlib stream of at most {most:,} bytes, found more or less")
    return found


def deflated(data: bytes) -> bytes:
    """Return bytes as a zlib stream (RFC 1950)."""
    return zlib.compress(data, level=9)


def write_npy(array: Array) -> bytes:
    """Return `array` as a `.npy` file of format 1.0; strings become NumPy's text of fixed width.

    Raises:
        ValueError: a string ends in a NUL character, which such text does not have.
    """
    if array.dtype is OBJECT:
        text = array.astype(np.str_)
        if text.tolist() != array.tolist():
            raise ValueError("a string ends in a NUL character, and a .npy file has none of these")
        array = text
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def load(path: Path, *, max_bytes: int | None = None) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name, or that of a `.npy` file as `UNNAMED`.

    They may take `max_bytes` in memory, by default half of the machine's.

    Raises:
        InputError: the file cannot be read, is damaged or of another kind, holds Python objects, or claims too much.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a .npz or .npy file, found no ordinary file")
        with path.open("rb") as file:
            return read(file, name=str(path), max_bytes=max_bytes)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror or err}; expected a .npz or .npy file") from err


def read(file: IO[bytes], *, name: str, max_bytes: int | None = None) -> dict[str, Array]:
    """Return the arrays of an open `.npz` or `.npy` file; `name` is what errors call it. As `load`.

    Raises:
        InputError: as `load`.
    """
    most = max_bytes if max_bytes is not None else half_of_memory()
    try:
        zipped = file.read(len(_ZIP)) == _ZIP
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if (claimed := sum(_members(file) if zipped else [_claimed(file, size)])) > most:
            raise InputError(
                f"{name}: its arrays take {claimed / 2**30:.1f} GiB of memory, expected at most "
                f"{most / 2**30:.1f} GiB: give fewer samples"
            )
        file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {UNNAMED: loaded}
        return {key: loaded[key] for key in loaded.files}
    except (ValueError, TypeError, SyntaxError, EOFError, zipfile.BadZipFile, NotImplementedError) as err:
        raise InputError(
            f"{name}: expected a .npz or .npy file of numbers, found another kind of file, a damaged one, or one of "
            "Python objects: write it with numpy.savez"
        ) from err


def is_arrays(data: bytes) -> bool:
    """Tell whether bytes begin as a `.npy` or `.npz` file does."""
    return data.startswith((_MAGIC, _ZIP + b"\x03\x04"))


def _members(file: IO[bytes]) -> Iterator[int]:
    """Yield how many bytes each array of a `.npz` file takes."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(_ARRAY_SUFFIX):
                raise ValueError(f"{member.filename} is no array")
            with archive.open(member) as array:
                yield _claimed(array, member.file_size)


def _claimed(file: IO[bytes], size: int) -> int:
    """Return how many bytes the array of a `.npy` file takes, by its header.

    Raises:
        ValueError: the file, of `size` bytes, has no header of numbers, or fewer bytes than that claims.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or claimed > size:
        raise ValueError(f"shape {list(shape)} of {dtype} in {size} bytes")
    return claimed


def half_of_memory() -> int:
    """Return half of the machine's memory, in bytes: what a user's arrays may take."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
