"""Inputs on the command line: files, folders of them, `-` for stdin, or inline JSON.

A file is known by its first bytes (images, NumPy's files) or by its name (`.csv`, `.tsv`, `.json`); any other is JSON
if it begins as such, and CSV otherwise.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgemm import plain_text
from edgemm.bundle.manifest import Manifest
from edgemm.errors import BadRequestError, InputError, TooLargeError
from edgemm.outlet import escaping
from edgemm_runtime.preprocessing import array_inputs, encoded_images, image_inputs, image_kinds
from edgemm_runtime.serving.protocols.predict import codec as predict_codec
from edgemm_runtime.serving.protocols.predict import forms, multipart
from edgemm_runtime.tensors import npy
from edgemm_runtime.tensors.inputs import describe
from edgemm_runtime.tensors.named_arrays import Array
from edgemm_runtime.tensors.named_inputs import by_name

STDIN = "-"
_ARRAYS, _CSV, _JSON = (".npy", ".npz"), (".csv", ".tsv"), (".json",)
_IN_FOLDERS = {*image_kinds.SUFFIXES, *_ARRAYS, *_CSV, *_JSON}
_SHOWN = 80


@dataclass(frozen=True)
class Given:
    """One input: a text of the command line, or a file in a folder that it names."""

    text: str
    in_folder: bool = False

    @property
    def name(self) -> str:
        """What messages and lists call it, in one line."""
        return escaping.printable(self.text[:_SHOWN] if self._is_json else self.text).replace("\n", " ")

    @property
    def _is_json(self) -> bool:
        return self.text.lstrip()[:1] in {"[", "{"}

    def read(self, manifest: Manifest) -> dict[str, Array]:
        """Return its arrays, as the bundle's signature takes them.

        Raises:
            InputError: no such file, or not what the model takes.
        """
        try:
            if self._is_json:
                return _decoded(self.text.encode(), manifest)
            if encoded_images.is_url(self.text[:5].encode("ascii", "replace")):
                return forms.decode(self.text.encode(), manifest, content_type="")
            if self.text == STDIN:
                return _of_bytes(_of_stdin(), manifest, name="stdin", suffix="")
            return _read_file(Path(self.text), manifest)
        except (BadRequestError, TooLargeError) as err:
            raise InputError(f"{'the given JSON' if self._is_json else self.text}: {err}") from err


def expanded(texts: Iterable[str]) -> list[Given]:
    """Return the inputs that these texts stand for: each folder's files in the order of their paths.

    Raises:
        InputError: a folder has no file that could be an input.
    """
    found: list[Given] = []
    for text in texts:
        if text in {STDIN, ""} or text.lstrip()[:1] in {"[", "{"} or not _is_folder(Path(text)):
            found.append(Given(text))
            continue
        files = sorted(path for path in Path(text).rglob("*") if _is_input(path, Path(text)))
        if not files:
            raise InputError(f"{text}: expected a folder of {', '.join(sorted(_IN_FOLDERS))} files, found none in it")
        found.extend(Given(str(path), in_folder=True) for path in files)
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long for a path, or a zero in it
        return False


def _is_input(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in _IN_FOLDERS and path.is_file()


def _decoded(body: bytes, manifest: Manifest) -> dict[str, Array]:
    return predict_codec.decode_request(body, manifest.signature, declared=manifest.preprocessing)


def _read_file(path: Path, manifest: Manifest) -> dict[str, Array]:
    suffix = path.suffix.lower()
    if suffix in _ARRAYS:
        return _from_arrays(npy.load(path), manifest)
    return _of_bytes(image_inputs.read_file(path), manifest, name=str(path), suffix=suffix)


def _of_stdin() -> bytes:
    data: bytes = sys.stdin.buffer.read(image_inputs.MAX_FILE_BYTES + 1)
    if len(data) > image_inputs.MAX_FILE_BYTES:
        raise InputError(f"stdin: expected at most {image_inputs.MAX_FILE_BYTES // 2**20} MiB, found more")
    return data


def _of_bytes(data: bytes, manifest: Manifest, *, name: str, suffix: str) -> dict[str, Array]:
    if npy.is_arrays(data):
        return _from_arrays(npy.read(io.BytesIO(data), name=name), manifest)
    if suffix in image_kinds.SUFFIXES or multipart.is_image(data, ""):
        return forms.decode(data, manifest, content_type="image/any")
    if suffix not in _CSV:
        data = plain_text.without_mark(data, name=name)
        if suffix in _JSON or _is_json(data):
            return _decoded(data, manifest)
    return forms.decode(data, manifest, content_type="text/csv")


def _is_json(data: bytes) -> bool:
    """Tell whether text is JSON: a list, an object, or one image in quotes; a CSV may begin with quotes too."""
    begin = data.lstrip()[:1]
    return begin in {b"[", b"{", b""} or (begin == b'"' and data.count(b'"') == 2)


def _from_arrays(arrays: Mapping[str, Array], manifest: Manifest) -> dict[str, Array]:
    """Match arrays with inputs by name; a single one needs no name."""
    signature = manifest.signature
    if (named := by_name(arrays, signature.inputs)) is None:
        names = ", ".join(sorted(arrays)) or "none"
        raise BadRequestError(f"expected the arrays {describe(signature.inputs)}, found {names}")
    steps = manifest.preprocessing or {}
    return {spec.name: array_inputs.of_array(named[spec.name], spec, steps.get(spec.name)) for spec in signature.inputs}
