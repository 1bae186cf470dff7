"""The archive of an exported program: read in bounds, vetted, and written anew without what is a pickle.

Its example inputs are always left out. Weights and constants of a type of their own are pickles, and so are objects;
they are taken where the user allowed it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgemm import library_errors
from edgemm.errors import InputError
from edgemm_converter.job import program_files
from edgemm_converter.programs import vetting

_MOST_TEXT_BYTES = 256 * 2**20
_CHUNK = 1 << 20
_ARCHIVE_VERSION = b"0"
_OWN = ("archive_format", "archive_version", "byteorder", ".data/version")
_NAMED = 3


def copied(path: Path, folder: Path, *, known: tuple[int, int], installed: str, allow_pickle: bool) -> Path:
    """Return a vetted copy of the file in `folder`, of which PyTorch runs nothing but what `allow_pickle` allows.

    Args:
        path: The file.
        folder: The child's own.
        known: The version (major, minor) of graphs that the installed PyTorch reads.
        installed: That PyTorch's own version.
        allow_pickle: Whether weights and constants may be pickles.

    Raises:
        InputError: it is damaged, of a later version, or holds what runs code.
    """
    try:
        with zipfile.ZipFile(path) as source:
            return _copied(source, path, folder, known=known, installed=installed, allow_pickle=allow_pickle)
    except (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RecursionError, ValueError) as err:
        library_errors.note(err)
        raise InputError(
            f"{path}: expected an exported program, found one that is cut short or damaged: save it again with "
            "torch.export.save()"
        ) from err


def _copied(
    source: zipfile.ZipFile, path: Path, folder: Path, *, known: tuple[int, int], installed: str, allow_pickle: bool
) -> Path:
    root = program_files.root_of(source.namelist()) or ""
    version = source.read(f"{root}/{program_files.VERSION}")[:16].strip()
    if version != _ARCHIVE_VERSION:
        raise InputError(
            f"{path}: an exported program in version {version.decode(errors='replace')} of its archive, and version "
            f"{_ARCHIVE_VERSION.decode()} is known: export the model with PyTorch {installed}"
        )
    name = _only_model(source, root, path)
    graph = _json(source, f"{root}/{program_files.MODELS}/{name}.json")
    vetting.check_version(graph, known=known, installed=installed, path=str(path))
    graph = vetting.cleaned(graph, path=str(path))
    lists = {kind: _json(source, f"{root}/data/{kind}/{name}_{kind}_config.json") for kind in ("weights", "constants")}
    if not allow_pickle and (found := [one for kind in lists.values() for one in vetting.pickled(kind)]):
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InputError(
            f"{path}: {', '.join(found[:_NAMED])}{more} of it are Python pickles, which run code of whoever made them "
            "as soon as they are opened, and were not opened: give --allow-pickle if you trust its maker, or export "
            "the model with plain tensors alone"
        )
    made = folder / "program.pt2"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as target:
        for member in _OWN:
            target.writestr(f"model/{member}", source.read(f"{root}/{member}"))
        target.writestr("model/models/model.json", json.dumps(graph))
        target.writestr("model/data/sample_inputs/model.pt", b"")
        for kind, config in lists.items():
            target.writestr(f"model/data/{kind}/model_{kind}_config.json", json.dumps(vetting.on_cpu(config)))
            for file in sorted(set(_files(config))):
                _copy(source, f"{root}/data/{kind}/{file}", target, f"model/data/{kind}/{file}")
    return made


def _only_model(source: zipfile.ZipFile, root: str, path: Path) -> str:
    folder = f"{root}/{program_files.MODELS}/"
    names = sorted(n[len(folder) : -len(".json")] for n in source.namelist() if n.startswith(folder))
    if len(names) != 1:
        raise InputError(
            f"{path}: expected one exported program, found {len(names)} ({', '.join(names[:_NAMED])}): save the one to "
            "convert with torch.export.save()"
        )
    return names[0]


def _json(source: zipfile.ZipFile, member: str) -> dict[str, Any]:
    size = source.getinfo(member).file_size
    if size > _MOST_TEXT_BYTES:
        raise ValueError(f"{member} has {size} bytes")
    found = json.loads(source.read(member))
    if not isinstance(found, dict):
        raise ValueError(f"{member} is no table")  # noqa: TRY004 - of a damaged file, as the others
    return found


def _files(config: dict[str, Any]) -> Iterator[str]:
    for entry in config["config"].values():
        name = entry["path_name"]
        if not isinstance(name, str) or "/" in name or "\\" in name:
            raise ValueError("a weight outside of its folder")
        yield name


def _copy(source: zipfile.ZipFile, member: str, target: zipfile.ZipFile, name: str) -> None:
    info = zipfile.ZipInfo(name)
    info.file_size = source.getinfo(member).file_size
    with source.open(member) as read, target.open(info, "w") as write:
        while piece := read.read(_CHUNK):
            write.write(piece)
