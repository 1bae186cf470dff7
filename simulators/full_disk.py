"""A small file system of its own, and filling it to the last byte.

with mounted(tmp_path / "disk", size_bytes=4 * MIB) as disk:
    with full(disk):
        ...  # no byte is free
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILLER = "filler"
_BLOCK = b"\0" * 4096


@contextmanager
def mounted(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs of its own at `folder` while the block runs.

    Raises:
        PermissionError: this process may not mount.
    """
    if os.geteuid() != 0:
        raise PermissionError("mounting a file system needs root")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise PermissionError(f"mounting is not allowed here: {done.stderr.decode()[:100]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free; what was filled before goes on being so.

    Another process may give bytes back at any time, so that the disk need not be full a moment later.
    """
    with (disk / FILLER).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(_BLOCK)
        except OSError as err:
            if err.errno != errno.ENOSPC:
                raise


def make_room(disk: Path) -> None:
    """Take the filling away."""
    (disk / FILLER).unlink()


def free_bytes(disk: Path) -> int:
    """Return what may still be written."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the disk while the block runs."""
    fill(disk)
    yield
    make_room(disk)
