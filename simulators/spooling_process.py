"""A process that spools, sends and drops as a device does, as fast as it can, until it is killed.

`python -m simulators.spooling_process FOLDER BOOT BOOT_COUNT SEED` with `device.key` in FOLDER; SEED `drain` means to
add nothing, and to end when nothing waits. Its stdout is the wire: a line for each message that it published, and
`kept SEQUENCE` for each event that the spool took. A line that was written counts as stored by the fleet, and may be
acknowledged from then on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    from edgemm.messages import Stream, StreamAck, SystemGauges
    from edgemm.topics import Channel
    from edgemm.trust.signing import load_key
    from edgemm_runtime.agent.reporting.reporter import Reporter, Situation
    from edgemm_runtime.agent.reporting.telemetry import Served
    from edgemm_runtime.agent.spool.settings import SpoolSettings
    from edgemm_runtime.agent.spool.spool import Spool, open_spool
    from edgemm_runtime.agent.state.agent_options import AgentLimits
    from edgemm_runtime.agent.state.documents import Transition
    from edgemm_runtime.agent.state.speaker import Speaker
    from edgemm_runtime.agent.state.time_keeper import Clock
    from edgemm_runtime.agent.state.trusted_time import TrustedTime

DRAIN = "drain"
_LIMITS = AgentLimits(in_flight_messages=8)
_SITUATION = Situation(records=(), generation=0, wanted=(), engines={}, actions=())


class SpoolingProcess:
    """One life, as its parent sees it."""

    def __init__(self, folder: Path, boot: str, boot_count: int, seed: int | str) -> None:
        command = [sys.executable, "-m", "simulators.spooling_process", str(folder), boot, str(boot_count), str(seed)]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def lines(self, kill_after: int | None) -> Iterator[tuple[str, str]]:
        """Yield (kind, value) of each line that came, also those on their way when it was killed, after so many."""
        assert self._process.stdout is not None
        with self._process.stdout as wire:
            for number, line in enumerate(wire, start=1):
                if number == kill_after:
                    self._process.send_signal(signal.SIGKILL)
                if line.endswith("\n"):
                    kind, value = line.split()
                    yield kind, value

    def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        return self._process.wait(60)


class _Wire:
    """The `Publisher` of a life."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[tuple[Stream, int]] = []

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Write a message to stdout, whole or not at all."""
        if channel is not Channel.REPORTED:
            say(channel.value, payload.hex())
        return True


def say(kind: str, value: str) -> None:
    """Write a line; short as it is, a pipe takes it in one piece."""
    line = f"{kind} {value}\n".encode()
    assert len(line) <= 4096
    os.write(sys.stdout.fileno(), line)


class _Life:
    """What one life does, chosen by its seed."""

    def __init__(self, reporter: Reporter, spool: Spool, rng: random.Random) -> None:
        self._reporter, self._spool, self._rng, self._wire = reporter, spool, rng, _Wire()

    def spool_for_ever(self) -> None:
        """Add, send and drop, in an order that the seed gives."""
        while True:
            for _ in range(self._rng.randint(0, 4)):
                self._measure()
            if self._rng.random() < 0.3:
                self._note()
            self._wire.connected = self._rng.random() < 0.3
            self._reporter.pump(self._wire, lambda: _SITUATION)
            if self._wire.connected and self._rng.random() < 0.5:
                self._acknowledge()

    def drain(self) -> None:
        """Send what lives before left, and drop it, until nothing waits."""
        while self._spool.gauges().waiting:
            self._reporter.pump(self._wire, lambda: _SITUATION)
            self._acknowledge()

    def _measure(self) -> None:
        gauges = SystemGauges(disk_free_bytes=self._rng.getrandbits(40))  # no two windows are alike
        self._reporter.measure(Served(), frozenset(), gauges)

    def _note(self) -> None:
        sequence = self._spool.next_sequence(Stream.EVENT)
        told = Transition(serial=1, cause="noted", detail=str(self._rng.getrandbits(64)))
        if self._reporter.tell(None, told):
            say("kept", str(sequence))

    def _acknowledge(self) -> None:
        """Acknowledge some of what was sent; as much as may be on its way was, from the first in the spool on."""
        sent = self._spool.after(0, limit=self._rng.randint(1, _LIMITS.in_flight_messages))
        self._reporter.acknowledge(StreamAck(boot=m.boot, stream=m.stream, sequence=m.sequence) for m in sent)


def main(folder: Path, boot: str, boot_count: int, seed: str) -> None:
    """Live."""
    settings = SpoolSettings(boot=boot, boot_count=boot_count, max_bytes=1 << 20)
    spool = open_spool(folder / "spool.sqlite", settings)
    reporter = Reporter(
        Speaker("home", "pi", boot, boot_count),
        load_key(folder / "device.key"),
        spool,
        now=lambda: TrustedTime(1.8e9 + boot_count, clock_synced=True),
        clock=Clock(),
        limits=_LIMITS,
    )
    life = _Life(reporter, spool, random.Random(f"{seed}"))
    if seed == DRAIN:
        life.drain()
    else:
        life.spool_for_ever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
