"""What the device's spool writes in one day: `python -m benchmarks.spool [--folder FOLDER]`.

The real spool on a real file system; a day is so many calls, no time passes. Bytes are the growth of `write_bytes` in
/proc/self/io: pages of files handed to storage, without the file system's own journal and metadata, and without what
a card's controller adds. Run it on a disk: on tmpfs `write_bytes` stays 0, which is refused.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgemm.messages import Stream, StreamAck
from edgemm_runtime.agent.spool import Spool

_BOOT = "a" * 16
_KIB = 1024
_NEVER = 0


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
    """What a day cost, in bytes, and the messages that still wait at its end."""

    payload: int
    written: int
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


def measure(day: Day, folder: Path) -> Cost:
    """Spool one day in an empty folder.

    Raises:
        ValueError: nothing was written, so the folder is not on a disk; or the spool refused a message.
    """
    before, payload, peak = written_bytes(), 0, 0
    spool = Spool(folder / "spool.sqlite", boot=_BOOT, boot_count=1, max_bytes=16 * _KIB * _KIB)
    event_every = max(1, day.windows // day.events) if day.events else 0
    sent = dict.fromkeys(Stream, 0)
    for minute in range(1, day.windows + 1):
        due = [(Stream.TELEMETRY, day.window_bytes)]
        if event_every and minute % event_every == 0 and sent[Stream.EVENT] < day.events:
            due.append((Stream.EVENT, day.event_bytes))
        for stream, size in due:
            sent[stream] += 1
            if not spool.add(stream, bytes(size), sequence=sent[stream]):
                raise ValueError(f"spool refused message {sent[stream]} of {stream.value}; is {folder} full?")
            payload += size
            if day.ack_every and sum(sent.values()) % day.ack_every == 0:
                spool.acknowledge(StreamAck(boot=_BOOT, stream=s, sequence=n) for s, n in sent.items() if n)
        peak = max(peak, sum(file.stat().st_size for file in folder.iterdir()))
    waiting = spool.gauges().waiting
    spool.close()
    written = written_bytes() - before
    if not written:
        raise ValueError(f"no byte reached a disk; expected --folder on one, found {folder}")
    return Cost(payload, written, peak, waiting)


def main() -> None:
    """Print a row for a day without a broker and for days with acknowledgements."""
    parser = argparse.ArgumentParser(description="Measure what the spool writes in one day.")
    parser.add_argument("--folder", type=Path, default=Path(), help="a folder on the disk to measure")
    parser.add_argument("--windows", type=int, default=1440, help="telemetry windows a day")
    parser.add_argument(
        "--window-bytes", type=int, default=600, help="size of an encoded telemetry message, before signing"
    )
    parser.add_argument("--events", type=int, default=24, help="events a day")
    parser.add_argument("--event-bytes", type=int, default=400, help="size of an encoded event, before signing")
    asked = parser.parse_args()
    print("acknowledged   payload KiB  written KiB  ratio  KiB/message  peak file KiB  waiting")
    for ack_every in (_NEVER, 1, 10):
        day = Day(asked.windows, asked.window_bytes, asked.events, asked.event_bytes, ack_every)
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            cost = measure(day, Path(folder))
        name = f"every {ack_every}" if ack_every else "never"
        print(
            f"{name:<13}{cost.payload / _KIB:>13.0f}{cost.written / _KIB:>13.0f}{cost.written / cost.payload:>7.1f}"
            f"{cost.written / _KIB / (day.windows + day.events):>13.1f}{cost.peak_file / _KIB:>15.0f}{cost.waiting:>9}"
        )


if __name__ == "__main__":
    main()
