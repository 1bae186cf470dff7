"""The lock of a folder that one process may write: held as long as its descriptor is open, however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from edgemm.errors import EnvironmentFailure


def lock_folder(folder: Path, *, holder: str, folders: Iterable[str] = ()) -> int:
    """Make a folder, with others in it, and lock it; return the descriptor that holds the lock until it is closed.

    `holder` is what an error calls whoever else has it.

    Raises:
        EnvironmentFailure: the folder cannot be made, or is locked already.
    """
    try:
        for path in (folder, *(folder / name for name in folders)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise EnvironmentFailure(
            f"state folder {folder}: {err.strerror}: expected a folder that this user may write; "
            "choose one with --state-dir"
        ) from err
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(lock)
        raise EnvironmentFailure(
            f"state folder {folder} is in use by another {holder}: stop it, or give this one its own --state-dir"
        ) from err
    return lock
