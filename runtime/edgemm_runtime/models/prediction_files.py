"""The files of a prediction log: what it holds, written now and then, within a budget, and read back at the start.

A file `given-00000001.log` is a segment: a line that names the format, and frames that are appended, each with its
length and CRC-32. A frame is whole or is not there. From the first one that is damaged the rest of a file is dropped.
The newest segment is written first, for what waits long is soon dropped anyway.
"""

from __future__ import annotations

import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from edgemm import durable
from edgemm_runtime.folder_lock import lock_folder
from edgemm_runtime.models.prediction_log import PredictionLog, Segment, read_segment
from edgemm_runtime.write_budget import WriteBudget

_log = logging.getLogger(__name__)
FORMAT = 1
_MAGIC = b"edgemm-feedback "
_FRAME = struct.Struct("<IIQdd")
"""Length and CRC-32 of the records; the number of this write, and the budget after it: what is left, as of when."""
_BLOCK_BYTES = 4096
_MOST_FILE_BYTES = 16 * 1024 * 1024


class PredictionFiles:
    """The files in one folder, which one process holds at a time; `damaged` counts files with a piece dropped.

    Raises:
        EnvironmentFailure: the folder cannot be made, or another process holds it.
    """

    def __init__(self, folder: Path, *, day_bytes: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._now_s = folder, now_s
        self.damaged = 0
        self._writes, self._failing = 0, False
        self._budget = WriteBudget.full(day_bytes, now_s=now_s())
        self._lock = lock_folder(folder, holder="process")

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def read(self, kind: str) -> list[Segment]:
        """Return the segments of one kind, oldest first."""
        found = []
        for path in sorted(self._folder.glob(f"{kind}-*.log")):
            number = path.stem.removeprefix(f"{kind}-")
            try:
                segment = self._read(path, int(number)) if number.isdigit() else None
            except OSError as err:
                self.damaged += 1
                _log.error("late labels: file unreadable file=%s error=%s", path, err)
                continue
            if segment is not None:
                found.append(segment)
        return found

    def write(self, kind: str, log: PredictionLog, tails: Sequence[tuple[Segment, bytes]], *, spare: float) -> None:
        """Append what is not written, as far as the budget goes, but for `spare` bytes; remove files of what is gone.

        `tails` are a log's segments, newest first, each with what it has and its file has not.
        """
        self._remove(kind, oldest=log.segments[0].number)
        self._budget = self._budget.at(self._now_s())
        for segment, tail in tails:
            path = self._folder / _name(kind, segment.number)
            cost = _cost(path, len(tail))
            if self._budget.left_bytes - cost < spare:
                return
            if not self._append(path, tail, self._budget.charged(cost)):
                return
            segment.written += len(tail)

    def spare(self) -> float:
        """Return what predictions leave for labels, which are written at once."""
        return self._budget.reserve_bytes

    def _read(self, path: Path, number: int) -> Segment | None:
        with path.open("rb") as file:
            data = file.read(_MOST_FILE_BYTES)
        line, _, rest = data.partition(b"\n")
        told = line.removeprefix(_MAGIC)
        if line.startswith(_MAGIC) and told.isdigit() and int(told[:9]) > FORMAT:
            _log.error("late labels: file of a newer agent put aside file=%s", path)
            durable.put_aside(path, major=int(told[:9]))
            return None
        records, good = bytearray(), 0
        if line == _MAGIC + b"%d" % FORMAT and rest is not data:
            while (size := self._frame(rest, good, records)) > 0:
                good += size
        if good < len(rest) or not good:
            self.damaged += 1
            _log.error("late labels: damaged file=%s kept_bytes=%d", path, len(records))
            if not good:
                path.unlink()
                return None
            os.truncate(path, len(line) + 1 + good)
        return read_segment(number, records)

    def _frame(self, data: bytes, at: int, records: bytearray) -> int:
        """Take one frame; return its bytes, 0 where there is none, or a damaged one."""
        if len(data) - at < _FRAME.size:
            return 0
        length, checksum, number, left_bytes, as_of_s = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + length]
        head = data[at + 8 : at + _FRAME.size]
        if len(payload) < length or zlib.crc32(payload, zlib.crc32(head)) != checksum:
            return 0
        records += payload
        if number > self._writes:
            self._writes = number
            self._budget = WriteBudget(self._budget.day_bytes, left_bytes, as_of_s)
        return _FRAME.size + int(length)

    def _append(self, path: Path, payload: bytes, budget: WriteBudget) -> bool:
        """Append a frame durably; False where it cannot be, and the file is as it was."""
        number = self._writes + 1
        head = _FRAME.pack(len(payload), 0, number, budget.left_bytes, budget.as_of_s)[8:]
        frame = struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(head))) + head + payload
        try:
            _write(path, frame)
        except OSError as err:
            if not self._failing:
                _log.error("late labels: not written, kept in memory folder=%s error=%s", self._folder, err.strerror)
            self._failing = True
            return False
        self._writes, self._budget, self._failing = number, budget, False
        return True

    def _remove(self, kind: str, *, oldest: int) -> None:
        for path in self._folder.glob(f"{kind}-*.log"):
            number = path.stem.removeprefix(f"{kind}-")
            if number.isdigit() and int(number) < oldest:
                try:
                    path.unlink(missing_ok=True)
                except OSError as err:
                    _log.warning("late labels: file not removed file=%s error=%s", path, err)


def _name(kind: str, number: int) -> str:
    return f"{kind}-{number:08d}.log"


def _cost(path: Path, length: int) -> int:
    """Return what an append writes, in whole blocks: its bytes, the file's inode, and the folder of a new file."""
    try:
        begin, folder = path.stat().st_size, 0
    except OSError:
        begin, folder = 0, _BLOCK_BYTES
    blocks = (begin + length + _FRAME.size) // _BLOCK_BYTES - begin // _BLOCK_BYTES + 1
    return (blocks + 1) * _BLOCK_BYTES + folder


def _write(path: Path, frame: bytes) -> None:
    begun = path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        data = frame if before else _MAGIC + b"%d\n" % FORMAT + frame
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
    if not begun:
        durable.sync_folder(path.parent)
