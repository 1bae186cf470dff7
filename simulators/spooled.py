"""What waits on a device's disk, for somebody who took the card out: from a copy, since the device has it locked."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from edgemm.messages import Stream


def waiting(spool: Path, boot: str, stream: Stream = Stream.TELEMETRY) -> list[int]:
    """Return the sequences of one boot's stream that are on disk, rising."""
    query = "SELECT sequence FROM message WHERE boot = ? AND stream = ? ORDER BY sequence"
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(_copy(spool, Path(folder)))) as database:
        return [row[0] for row in database.execute(query, (boot, stream.value))]


def _copy(spool: Path, folder: Path) -> Path:
    """Copy the database and its log at a moment at which neither changes."""
    files = [spool, spool.with_name(f"{spool.name}-wal")]
    while True:
        before = _state(files)
        for file in files:
            (folder / file.name).unlink(missing_ok=True)
            with suppress(FileNotFoundError):  # an orderly stop leaves no log
                shutil.copyfile(file, folder / file.name)
        if _state(files) == before:
            return folder / spool.name


def _state(files: list[Path]) -> list[tuple[int, int]]:
    return [(file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else (0, 0) for file in files]
