"""Room on the disk that is kept for the device's own state: a file that is given back when a disk is full.

    reserve = Reserve(folder / "reserve", size_bytes=1024 * 1024)
    reserve.fill()        # where there is room
    reserve.release()     # before a state is written again

What it held is then free for a moment: `fill` afterwards takes back as much of it as is left, before others do.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_LEAST_BYTES = 32 * 1024


class Reserve:
    """A file of really allocated blocks; a size of 0 keeps none."""

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path, self._size_bytes = path, size_bytes

    @property
    def held_bytes(self) -> int:
        """How much is kept now."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def fill(self) -> int:
        """Keep the whole size, or the largest half of halves of it that there is room for; return what is kept."""
        held = self.held_bytes
        size = self._size_bytes
        while size > max(held, _LEAST_BYTES - 1):
            if self._allocate(size):
                if size < self._size_bytes:
                    _log.warning("reserve is short bytes=%d wanted=%d", size, self._size_bytes)
                return size
            size //= 2
        return held

    def release(self) -> bool:
        """Give it back; False where there is none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        _log.warning("disk is full: reserve given back for the state")
        return True

    def _allocate(self, size: int) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        before = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, before)  # what was allocated of it before the disk was full
            if not before:
                self._path.unlink(missing_ok=True)
            return False
        else:
            return True
        finally:
            os.close(descriptor)
