"""The format of a source artifact, detected by its first bytes and its names, and the artifact's digest.

Nothing of the artifact is executed here.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from pathlib import Path

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.children.protocol import SourceFormat
from edgemm_converter.job import estimator_files, foreign_artifacts, program_files, targets

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MAX_FINISHED_BYTES = 2**31 - 1
_CHUNK = 1 << 20
_MAX_MEMBERS, _MAX_EXPANSION, _FREE_BYTES = 10_000, 100, 64 * 2**20
"""A Keras archive has a few members, hardly compressed; what is below so many bytes is never refused."""

_MAX_LISTED = 10_000
_SUFFIXES = {SourceFormat.KERAS: ".keras", SourceFormat.SKOPS: ".skops", SourceFormat.PROGRAM: ".pt2"}


def detect(path: Path) -> str:
    """Return what kind of artifact `path` is: a `SourceFormat`, or of a finished file the id of its engine.

    Raises:
        InputError: there is nothing, or not a model, or a damaged one.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected {_expected()}, found no ordinary file: save the model to one")
        with path.open("rb") as file:
            head = file.read(foreign_artifacts.HEAD_BYTES)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror}; expected {_expected()}") from err
    if not head:
        raise InputError(f"{path}: expected {_expected()}, found an empty file: export the model again")
    if head.startswith(_HDF5):
        return SourceFormat.HDF5
    if head.startswith(_ZIP):
        return _archive(path)
    if (estimator := estimator_files.told_by(head)) is not None:
        return _whole(path, estimator)
    what = estimator_files.older(head) or foreign_artifacts.of_saved_models_part(
        str(path), head
    )  # one begins as an ONNX file does
    if what is None and (target := targets.told_by(head[: targets.HEAD_BYTES])) is not None:
        return _whole(path, target.engine)
    what = what or foreign_artifacts.of_file(str(path), head) or "a file that is none of them: give the saved model"
    raise InputError(f"{path}: expected {_expected()}, found {what}")


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
    return (
        f"a Keras .keras or .h5 file, an exported SavedModel folder, {estimator_files.NAMES}, {program_files.NAMES}, "
        f"or a {finished} file"
    )


def _whole(path: Path, kind: str) -> str:
    """Check that a file that is loaded as a whole is no larger than an engine's can be."""
    if (size := path.stat().st_size) > _MAX_FINISHED_BYTES:
        raise InputError(f"{path}: {size / 2**30:.1f} GiB; expected a {kind} file of at most 2 GiB: make it smaller")
    return kind


def _folder(path: Path) -> SourceFormat:
    if (graph := path / "saved_model.pb").is_file():
        if not graph.stat().st_size:
            raise InputError(f"{path}: expected a SavedModel, found an empty saved_model.pb: export the model again")
        return SourceFormat.SAVED_MODEL
    listed = sorted(itertools.islice(path.iterdir(), _MAX_LISTED))
    inner = [entry.name for entry in listed if (entry / "saved_model.pb").is_file()]
    what = foreign_artifacts.of_folder(str(path), [entry.name for entry in listed], inner)
    raise InputError(f"{path}: expected {_expected()}, found {what or 'a folder without saved_model.pb'}")


def _archive(path: Path) -> SourceFormat:
    """Return what a ZIP is, an archive of Keras, skops or PyTorch, and check that it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            kind = _kind_of_archive(names)
            if kind is SourceFormat.KERAS and "config.json" not in names:
                what = foreign_artifacts.of_archive(names) or "a ZIP file without a Keras config.json"
                raise InputError(f"{path}: expected {_expected()}, found {what}")
            _check_expansion(path, archive)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as err:
        library_errors.note(err)
        raise InputError(
            f"{path}: expected a whole .keras, .skops or .pt2 file, found one that is cut short or damaged: save the "
            "model again"
        ) from err
    if damaged is not None:
        raise InputError(
            f"{path}: expected a whole {_SUFFIXES[kind]} file, found a damaged {damaged} in it: save the model again"
        )
    return kind


def _kind_of_archive(names: set[str]) -> SourceFormat:
    if program_files.is_program(names):
        return SourceFormat.PROGRAM
    return SourceFormat.SKOPS if estimator_files.is_skops(names) else SourceFormat.KERAS


def _check_expansion(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that nothing is unpacked that a model cannot have written: a few kilobytes can claim to be terabytes."""
    members = archive.infolist()
    claimed, allowed = sum(m.file_size for m in members), max(_FREE_BYTES, _MAX_EXPANSION * path.stat().st_size)
    if claimed > allowed or len(members) > _MAX_MEMBERS:
        raise InputError(
            f"{path}: its {len(members)} members claim {claimed / 2**30:.1f} GiB, expected at most "
            f"{allowed / 2**30:.1f} GiB of a file of {path.stat().st_size / 2**20:.1f} MiB: save the model again"
        )
