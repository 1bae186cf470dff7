"""The disk reserve: a file that keeps room for the device's own state, and gives it back in pieces on a full disk.

    reserve = Reserve(folder / "reserve", size_bytes=1024 * 1024)
    reserve.fill()                  # where there is room
    with reserve.lent(8192):        # what is written in here finds so much room, unless others are faster
        ...

Never more than a piece is free at a time, so that whoever fills the disk cannot take it all at once. Afterwards the
file takes back what is left of the piece.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 4096


class Reserve:
    """A file of really allocated blocks; a size of 0 keeps none. Safe to use from many threads."""

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path, self._size_bytes = path, size_bytes
        self._lock = threading.Lock()
        self._lent_bytes = 0
        self._short = False

    @property
    def held_bytes(self) -> int:
        """How much is kept now."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def fill(self) -> int:
        """Keep the whole size, or half of the room that there is; return what is kept."""
        with self._lock:
            held, whole = self.held_bytes, self._size_bytes - self._lent_bytes
            wanted = min(whole, (held + self._free_bytes()) // 2 // _BLOCK_BYTES * _BLOCK_BYTES)
            if held < wanted:
                held = self._grow(held, wanted)
            if (short := held < whole) != self._short:
                self._short = short
                _log.warning("reserve is %s bytes=%d wanted=%d", "short" if short else "whole", held, whole)
            return held

    @contextmanager
    def lent(self, piece_bytes: int) -> Iterator[bool]:
        """Give back as much while the block runs, or all that there is; yields False where there is nothing."""
        with self._lock:
            held = self.held_bytes
            piece = min(held, _blocks(piece_bytes))
            if piece:
                self._shrink(held - piece)
                self._lent_bytes += piece
        try:
            yield piece > 0
        finally:
            if piece:
                with self._lock:
                    self._lent_bytes -= piece
                    held = self.held_bytes
                    self._grow(held, held + piece)

    def _grow(self, held: int, wanted: int) -> int:
        """Allocate up to `wanted`, or as many blocks of it as fit; return what is kept."""
        fits, tried = held, wanted
        while tried > fits:
            if self._allocate(fits, tried):
                fits = tried
            else:
                wanted = tried - _BLOCK_BYTES
            tried = min(wanted, fits + _blocks((wanted - fits) // 2 + 1))
        return fits

    def _free_bytes(self) -> int:
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def _shrink(self, size: int) -> None:
        with suppress(OSError):
            if size:
                os.truncate(self._path, size)
            else:
                self._path.unlink()

    def _allocate(self, held: int, size: int) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(descriptor, held, size - held)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, held)  # what was allocated of it before the disk was full
            if not held:
                self._path.unlink(missing_ok=True)
            return False
        else:
            return True
        finally:
            os.close(descriptor)


def _blocks(size_bytes: int) -> int:
    """Return a size in whole blocks."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
