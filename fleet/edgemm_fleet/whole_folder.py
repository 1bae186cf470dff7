"""A folder that is either whole or not there: made beside its place, and renamed into it.

    with made_whole(Path("/backup/monday")) as folder:
        ...                 # fill it; an exception takes it away again

While it is made it is locked. What a killed process left of one, which may have private keys, is locked by nobody, and
is removed by the next that makes one there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgemm import durable

_PREFIX = f"{durable.TEMPORARY_PREFIX}folder-"


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Yield a new folder, its owner's alone, that takes the place of `path`, which is absent or an empty folder.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}")
    temporary.mkdir(mode=0o700)
    descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks has its leftovers kept
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield temporary
        durable.sync_folder(temporary)
        temporary.rename(path)
        durable.sync_folder(path.parent)
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    for left in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)
