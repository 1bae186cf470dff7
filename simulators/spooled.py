"""What waits in a device's spool, read beside the process that holds it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from edgemm.messages import Stream


def waiting(spool: Path, boot: str, stream: Stream = Stream.TELEMETRY) -> list[int]:
    """Return the sequences of one boot's stream that are on disk, rising."""
    query = "SELECT sequence FROM message WHERE boot = ? AND stream = ? ORDER BY sequence"
    with closing(sqlite3.connect(f"file:{spool}?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute(query, (boot, stream.value))]
