"""The format of a source artifact, detected by its first bytes and its names, and the artifact's digest.

Nothing of the artifact is executed here.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from edgemm.errors import InputError
from edgemm_converter.children.protocol import SourceFormat
from edgemm_converter.job import targets

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MAX_FINISHED_BYTES = 2**31 - 1
_CHUNK = 1 << 20


def detect(path: Path) -> str:
    """Return what kind of artifact `path` is: a `SourceFormat`, or of a finished file the id of its engine.

    Raises:
        InputError: there is nothing, or not a model, or a damaged one.
    """
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            head = file.read(targets.HEAD_BYTES)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror}; expected {_expected()}") from err
    if not head:
        raise InputError(f"{path}: expected {_expected()}, found an empty file: export the model again")
    if head.startswith(_HDF5):
        return SourceFormat.HDF5
    if head.startswith(_ZIP):
        _check_archive(path)
        return SourceFormat.KERAS
    if (target := targets.told_by(head)) is not None:
        return _whole(path, target.engine)
    raise InputError(f"{path}: expected {_expected()}, found a file that is none of them: give the saved model")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's canonical listing.

    The listing has a line `<sha256>  <path>` for each file, with `/` between folders, sorted by the path's bytes.

    Raises:
        InputError: something cannot be read.
    """
    try:
        if path.is_file():
            return _file_digest(path)
        files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
        lines = [f"{_file_digest(files[name])}  {name}\n" for name in sorted(files, key=str.encode)]
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror}") from err
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            sha.update(piece)
    return sha.hexdigest()


def _expected() -> str:
    finished = " or ".join(targets.suffixes())
    return f"a Keras .keras or .h5 file, an exported SavedModel folder, or a {finished} file"


def _whole(path: Path, kind: str) -> str:
    """Check that a finished file is one that an engine can take."""
    if (size := path.stat().st_size) > _MAX_FINISHED_BYTES:
        raise InputError(f"{path}: {size / 2**30:.1f} GiB; expected a {kind} file of at most 2 GiB: make it smaller")
    return kind


def _folder(path: Path) -> SourceFormat:
    if (graph := path / "saved_model.pb").is_file():
        if not graph.stat().st_size:
            raise InputError(f"{path}: expected a SavedModel, found an empty saved_model.pb: export the model again")
        return SourceFormat.SAVED_MODEL
    raise InputError(f"{path}: expected {_expected()}, found a folder without saved_model.pb")


def _check_archive(path: Path) -> None:
    """Check that a ZIP is a whole Keras archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as err:
        raise InputError(
            f"{path}: expected a whole .keras file, found one that is cut short or damaged ({err})"
        ) from err
    if damaged is not None:
        raise InputError(f"{path}: expected a whole .keras file, found a damaged {damaged} in it: save the model again")
    if "config.json" not in names:
        raise InputError(f"{path}: expected {_expected()}, found a ZIP file without a Keras config.json")
