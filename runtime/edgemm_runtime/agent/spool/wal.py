"""The reader of SQLite's write-ahead log: finds the pages that were written, and counts their bytes.

The layout is that of <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>: a header of 32 bytes, then frames,
each 24 bytes and a page. After a log was folded into its file, it begins again from its first frame, with other salts.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

_HEADER_BYTES, _FRAME_BYTES = 32, 24
_SALTS, _SIZE, _FRAME_SALTS = slice(16, 24), slice(8, 12), slice(8, 16)
BLOCK_BYTES = 4096
"""What a file system writes at least, and the kernel's page: a shorter page costs all of it."""


@dataclass
class LogReader:
    """Follows one log, whose database nobody else writes to."""

    path: Path
    _salts: bytes = b""
    _end: int = 0
    _pending: set[int] = field(default_factory=set)

    def advance(self) -> int:
        """Return the bytes, in whole blocks, of what was written since the last call.

        That is the log's own blocks, and those blocks of the database that its next folding will write and that were
        not counted since the last one.
        """
        try:
            log = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return self._advance(log)
        finally:
            os.close(log)

    @property
    def fold_bytes(self) -> int:
        """What the next folding writes to the database."""
        return len(self._pending) * BLOCK_BYTES

    def _advance(self, log: int) -> int:
        header = os.pread(log, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES:
            return 0
        start = self._end
        if header[_SALTS] != self._salts:
            self._salts, self._pending, start = header[_SALTS], set(), 0
        (page_bytes,) = struct.unpack(">I", header[_SIZE])
        frame_bytes, at = _FRAME_BYTES + page_bytes, max(start, _HEADER_BYTES)
        end, known, blocks = at, len(self._pending), set[int]()
        while len(frame := os.pread(log, _FRAME_BYTES, at)) == _FRAME_BYTES and frame[_FRAME_SALTS] == self._salts:
            page, committed = struct.unpack(">II", frame[:8])
            first = (page - 1) * page_bytes // BLOCK_BYTES
            blocks.update(range(first, first + max(1, page_bytes // BLOCK_BYTES)))
            at += frame_bytes
            if committed:  # what follows the last of these frames was undone and will be overwritten
                end = at
                self._pending |= blocks
                blocks.clear()
        if end == max(start, _HEADER_BYTES):
            return 0
        self._end = end
        return (-(-end // BLOCK_BYTES) - start // BLOCK_BYTES + len(self._pending) - known) * BLOCK_BYTES
