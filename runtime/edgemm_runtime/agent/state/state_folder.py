"""The device's state folder: the place of each document, its reading with a version check, its durable writing.

One agent at a time holds the folder, by a lock that the kernel drops when the process ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from edgemm import canonical, durable
from edgemm.errors import EnvironmentFailure, MessageError, NewerFormatError
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.state.files import WhenNewer, state_file
from edgemm_runtime.agent.state.reserve import Reserve
from edgemm_runtime.folder_lock import lock_folder

_log = logging.getLogger(__name__)
_VERSION = 1
_FOLDERS = ("models", "manifests", "blobs", "partial", "tuf")
_MARGIN_BYTES = 8192
"""What a file takes besides its bytes: a block of its folder, and the rest of its last one."""
Document = TypeVar("Document", bound=Struct)


class _VersionOnly(Struct):
    v: int


class StateFolder:
    """Paths and documents under one folder, which is made when it is missing.

    Raises:
        EnvironmentFailure: the folder cannot be made, or another agent holds it.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        self.folder = folder
        self.reserve = Reserve(folder / "reserve", size_bytes=reserve_bytes)
        self.put_aside: dict[str, int] = {}
        """Files of a newer agent that were put aside since this folder was opened, and their major versions."""
        self._lock: int | None = lock_folder(folder, holder="agent", folders=_FOLDERS)
        for path in (folder, *(folder / name for name in _FOLDERS)):
            durable.remove_leftovers(path)
        self.reserve.fill()

    def close(self) -> None:
        """Let another agent have the folder; may be called twice."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def path(self, name: str) -> Path:
        """Return where a document or folder lies."""
        return self.folder / name

    def read_bytes(self, name: str) -> bytes | None:
        """Return a document as it is, None where there is none."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as err:
            _log.error("state unreadable file=%s error=%s", name, err)
            return None

    def read(self, name: str, kind: type[Document]) -> Document | None:
        """Return a document; None where there is none, or where storage has damaged it (which is logged).

        None, too, where a newer agent wrote it and this one can do without: it is put aside then (`state/files.py`).

        Raises:
            NewerFormatError: a later major version wrote it, and there is no doing without.
        """
        data = self.read_bytes(name)
        if data is None:
            return None
        try:
            version = msgspec.json.decode(data, type=_VersionOnly).v
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            version = _VERSION
        if version > _VERSION:
            self._pass_over(name, version)
            return None
        try:
            return canonical.decode(data, kind, name=name)
        except MessageError as err:
            _log.error("state damaged file=%s error=%s", name, err)
            return None

    def _pass_over(self, name: str, version: int) -> None:
        """Do with a file of a newer major what its kind needs."""
        newer = NewerFormatError(
            str(self.path(name)), what="document version", found=str(version), supported=str(_VERSION)
        )
        rule = state_file(name).when_newer
        if rule is WhenNewer.REFUSE:
            raise newer
        if rule is WhenNewer.PUT_ASIDE:
            self.put_aside[name] = version
            try:
                durable.put_aside(self.path(name), major=version)
            except OSError as err:
                _log.error("state not put aside file=%s error=%s", name, err)
        _log.error("state of a newer agent not used file=%s rule=%s error=%s", name, rule, newer)

    def write(self, name: str, document: Struct, *, mode: int = 0o644) -> None:
        """Replace a document durably.

        Raises:
            EnvironmentFailure: the disk is full, without a reserve, or failing; the document is as it was.
        """
        self.write_bytes(name, canonical.encode(document), mode=mode)

    def write_bytes(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a document by what it is on disk; raises as `write`."""
        path = self.path(name)
        try:
            durable.write(path, data, mode=mode)
        except EnvironmentFailure as err:
            if not durable.is_disk_full(err):
                raise
            self._write_from_reserve(path, data, mode=mode)

    def _write_from_reserve(self, path: Path, data: bytes, *, mode: int) -> None:
        """Write with a piece of the reserve, and with a larger one where somebody else was faster to take it."""
        piece = len(data) + _MARGIN_BYTES
        while True:
            with self.reserve.lent(piece) as lent:
                try:
                    durable.write(path, data, mode=mode)
                except EnvironmentFailure as err:
                    if not (lent and durable.is_disk_full(err)):
                        raise
                else:
                    return
            piece *= 2

    @contextmanager
    def room_for(self, size_bytes: int) -> Iterator[None]:
        """Have so much of the disk free while the block runs, out of the reserve where it is not."""
        found = os.statvfs(self.folder)
        if found.f_bavail * found.f_frsize >= size_bytes:
            yield
            return
        with self.reserve.lent(size_bytes):
            yield

    def write_model(self, record: ModelFile) -> None:
        """Replace a model's record durably; raises as `write`."""
        self.write(f"models/{record.name}.json", record)

    def read_models(self) -> dict[str, ModelFile]:
        """Return all models' records by name; one that is damaged or newer is left out: its model is installed anew."""
        found = {}
        for path in sorted(self.path("models").glob("*.json")):
            record = self.read(f"models/{path.name}", ModelFile)
            if record is not None and f"{record.name}.json" == path.name:
                found[record.name] = record
        return found
