"""Durable writes: a file is either wholly there or not at all, also after power is lost.

The data is written to a temporary file beside the target and fsynced. Then the file is renamed over the target, and the
folder is fsynced. A target therefore always gets a new inode: a model file that is mapped somewhere is never changed in
place.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgemm.errors import EnvironmentFailure

TEMPORARY_PREFIX = ".edgemm-tmp-"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk or quota that is full."""


@contextmanager
def replacing(path: Path, *, mode: int = 0o644, size: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing that takes `path`'s place when the block ends without an error.

    `size`, where it is known, is told of a disk that has no room for so many bytes.

    Raises:
        EnvironmentFailure: the disk is full, or the folder is missing or not writable; `path` is as it was.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as err:
        step = f": {make_room(path.parent, needed=size)}" if err.errno in FULL else ""
        raise EnvironmentFailure(f"cannot write {path}: {err.strerror or err}; nothing was changed{step}") from err


def write(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Replace the content of `path` by `data`, durably.

    Raises:
        EnvironmentFailure: as `replacing`.
    """
    with replacing(path, mode=mode, size=len(data)) as file:
        file.write(data)


def put_aside(path: Path, *, major: int) -> None:
    """Give a file that a newer major version wrote the name `NAME.vMAJOR`, durably; what had that name is gone.

    Raises:
        OSError: it cannot be renamed; where it was renamed all the same, that may not survive a loss of power.
    """
    path.replace(path.with_name(f"{path.name}.v{major}"))
    sync_folder(path.parent)


def is_disk_full(err: EnvironmentFailure) -> bool:
    """Tell whether the reason for a failed write is a full disk or quota."""
    cause = err.__cause__
    return isinstance(cause, OSError) and cause.errno in FULL


def make_room(folder: Path, *, needed: int | None = None) -> str:
    """Return the next step where the disk of a folder is full: what is needed, and what is left there."""
    wanted = "room" if needed is None else f"room for {needed:,} bytes"
    try:
        facts = os.statvfs(folder)
    except OSError:
        return f"make {wanted} on the disk of {folder}, and try again"
    left = f"{facts.f_bavail * facts.f_frsize:,} left"
    if facts.f_files and not facts.f_favail:
        left = "no place left for another file"
    return f"make {wanted} on the disk of {folder}, which has {left}, and try again"


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
