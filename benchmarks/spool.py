"""What the device's spool writes in one day: `python -m benchmarks.spool [--folder FOLDER]`.

The real spool on a real file system, as it was (each message in a commit of its own, the index of SQLite's log a file)
and as it is, in one run. A day is so many calls, with a clock that each moves on. Bytes are the growth of `write_bytes`
in /proc/self/io: pages of files handed to storage, without the file system's own journal and metadata, and without what
a card's controller adds. The kernel writes what was changed of a mapped file within half a minute, so here that is
written after each message. Run it on a disk: on tmpfs `write_bytes` stays 0, which is refused.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from simulators import needs

with needs.imports(__name__, "runtime"):
    from edgemm.messages import Stream, StreamAck
    from edgemm_runtime.agent.spool.budget import AT_ONCE, SpoolRules
    from edgemm_runtime.agent.spool.settings import SpoolSettings
    from edgemm_runtime.agent.spool.spool import Spool
    from edgemm_runtime.agent.state.agent_options import AgentLimits
    from edgemm_runtime.write_budget import DAY_S

_BOOT = "a" * 16
_KIB, _MIB = 1024, 1024 * 1024
_NEVER = 0
_LIMITS = AgentLimits()


@dataclass(frozen=True)
class Day:
    """One day's messages; an acknowledgement comes after every `ack_every` messages (0: there is no broker)."""

    windows: int
    window_bytes: int
    events: int
    event_bytes: int
    ack_every: int


@dataclass(frozen=True)
class Cost:
    """What a day cost, in bytes, what the spool counted of that itself, and the messages that still wait at its end."""

    payload: int
    written: int
    counted: int
    peak_file: int
    waiting: int


def written_bytes() -> int:
    """Return the bytes of file pages that this process has sent to storage.

    Raises:
        ValueError: the kernel does not account for input and output.
    """
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(": ")
        if name == "write_bytes":
            return int(value)
    raise ValueError("/proc/self/io has no write_bytes; run on a kernel with CONFIG_TASK_IO_ACCOUNTING")


def measure(day: Day, folder: Path, *, rules: SpoolRules, day_bytes: int | None) -> Cost:
    """Spool one day in an empty folder.

    Raises:
        ValueError: nothing was written, so the folder is not on a disk; or the spool refused a message.
    """
    before, payload, peak, now_s = written_bytes(), 0, 0, 0.0
    settings = SpoolSettings(
        boot=_BOOT, boot_count=1, max_bytes=_LIMITS.spool_bytes,
        day_bytes=day_bytes, rules=rules, monotonic=lambda: now_s,
    )  # fmt: skip
    spool = Spool(folder / "spool.sqlite", settings)
    sent = dict.fromkeys(Stream, 0)
    with _written_back(folder / "spool.sqlite-shm") as write_back:
        for number in range(1, day.windows + 1):
            now_s = number * DAY_S / day.windows
            for stream, size in _due(day, number, sent[Stream.EVENT]):
                sent[stream] += 1
                if not spool.add(stream, bytes(size), sequence=sent[stream]):
                    raise ValueError(f"spool refused message {sent[stream]} of {stream.value}; is {folder} full?")
                payload += size
                if day.ack_every and sum(sent.values()) % day.ack_every == 0:
                    spool.acknowledge(StreamAck(boot=_BOOT, stream=s, sequence=n) for s, n in sent.items() if n)
                write_back()
            spool.write_due()
            peak = max(peak, sum(file.stat().st_size for file in folder.iterdir()))
    gauges = spool.gauges()
    spool.close()
    if not (written := written_bytes() - before):
        raise ValueError(f"no byte reached a disk; expected --folder on one, found {folder}")
    return Cost(payload, written, gauges.written_bytes or 0, peak, gauges.waiting)


def _due(day: Day, number: int, events: int) -> Iterator[tuple[Stream, int]]:
    every = max(1, day.windows // day.events) if day.events else 0
    yield Stream.TELEMETRY, day.window_bytes
    if every and number % every == 0 and events < day.events:
        yield Stream.EVENT, day.event_bytes


@contextmanager
def _written_back(path: Path) -> Iterator[Any]:
    """Yield what writes a mapped file, where there is one, as the kernel does while a device waits."""
    if not path.exists():
        yield lambda: None
        return
    mapped = os.open(path, os.O_RDWR)
    try:
        yield lambda: os.fsync(mapped)
    finally:
        os.close(mapped)


class _Shared(sqlite3.Connection):
    """A database that others may open too: SQLite keeps the index of its log in a file that it maps."""

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        return super().execute("SELECT 1" if query.startswith("PRAGMA locking_mode") else query, *values)


@contextmanager
def _as_it_was() -> Iterator[None]:
    connect = sqlite3.connect
    with mock.patch("sqlite3.connect", lambda *args, **named: connect(*args, factory=_Shared, **named)):
        yield


def main() -> None:
    """Print, before and after, a row for a day without a broker and for days with acknowledgements."""
    parser = argparse.ArgumentParser(description="Measure what the spool writes in one day.")
    parser.add_argument("--folder", type=Path, default=Path(), help="a folder on the disk to measure")
    parser.add_argument("--windows", type=int, default=1440, help="telemetry windows a day")
    parser.add_argument(
        "--window-bytes", type=int, default=600, help="size of an encoded telemetry message, before signing"
    )
    parser.add_argument("--events", type=int, default=24, help="events a day")
    parser.add_argument("--event-bytes", type=int, default=400, help="size of an encoded event, before signing")
    asked = parser.parse_args()
    print("spool   acknowledged  payload MiB  written MiB a day  counted MiB  KiB/message  peak file KiB  waiting")
    rules = SpoolRules(hold_s=_LIMITS.spool_hold_s, memory_bytes=_LIMITS.spool_memory_bytes)
    for ack_every in (_NEVER, 1, 10):
        day = Day(asked.windows, asked.window_bytes, asked.events, asked.event_bytes, ack_every)
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder, _as_it_was():
            _print("before", day, measure(day, Path(folder), rules=AT_ONCE, day_bytes=None))
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            cost = measure(day, Path(folder), rules=rules, day_bytes=_LIMITS.sd_write_bytes_per_day)
            _print("now", day, cost)


def _print(name: str, day: Day, cost: Cost) -> None:
    acknowledged = f"every {day.ack_every}" if day.ack_every else "never"
    print(
        f"{name:<8}{acknowledged:<14}{cost.payload / _MIB:>11.2f}{cost.written / _MIB:>19.2f}"
        f"{cost.counted / _MIB:>13.2f}{cost.written / _KIB / (day.windows + day.events):>13.1f}"
        f"{cost.peak_file / _KIB:>15.0f}{cost.waiting:>9}"
    )


if __name__ == "__main__":
    main()
