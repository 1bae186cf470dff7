"""A process that spools is killed 30 times, each time somewhere else: what its fleet ever hears is whole and true."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import Key

from edgemm.messages import Event, Telemetry, decode_telemetry
from edgemm.trust.signing import PayloadType, create_key, unseal
from simulators.spooling_process import DRAIN, SpoolingProcess

KILLS = 30
pytestmark = pytest.mark.slow


class _Fleet:
    """Keeps all that was ever published, and looks whether anything comes again as something else."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.heard: dict[tuple[str, str, int], Event | Telemetry] = {}
        self.kept: set[tuple[str, str, int]] = set()
        self.doubles = 0

    def hear(self, boot: str, kind: str, value: str) -> None:
        """Take a line of the life `boot`."""
        if kind == "kept":
            self.kept.add((boot, "event", int(value)))
            return
        payload = bytes.fromhex(value)
        message: Event | Telemetry
        if kind == "telemetry":
            message = replace(decode_telemetry(payload), floor=1)
            key = (message.boot.hex(), kind, message.sequence)
        else:
            message = replace(unseal(payload, PayloadType.EVENT, Event, keys=[self._key]), floor=1)
            key = (message.boot, kind, message.sequence)
        self.doubles += key in self.heard
        assert self.heard.setdefault(key, message) == message, "one number, one content"

    def sequences(self, kind: str) -> dict[str, list[int]]:
        """Return what was heard of one stream of each boot."""
        found: dict[str, list[int]] = {}
        for boot, stream, sequence in sorted(self.heard):
            if stream == kind:
                found.setdefault(boot, []).append(sequence)
        return found


def test_killed_anywhere_nothing_comes_back_wrong_and_no_number_is_used_twice(memory: Path) -> None:
    rng = random.Random(20261126)
    fleet = _Fleet(create_key(memory / "device.key").public_key)
    for life in range(1, KILLS + 1):
        process, boot = SpoolingProcess(memory, f"{life:016x}", life, life), f"{life:016x}"
        for kind, value in process.lines(rng.randint(1, 80)):
            fleet.hear(boot, kind, value)
        assert process.wait() == -signal.SIGKILL
    last = SpoolingProcess(memory, "f" * 16, KILLS + 1, DRAIN)
    for kind, value in last.lines(None):
        fleet.hear("f" * 16, kind, value)
    assert last.wait() == 0
    assert not (memory / "log").read_text(), "no spool was begun anew, kept in memory, or refused a message"

    for kind in ("event", "telemetry"):
        for boot, sequences in fleet.sequences(kind).items():
            assert sequences == list(range(1, len(sequences) + 1)), (kind, boot)
    assert fleet.kept
    assert fleet.kept <= fleet.heard.keys(), "an event that the spool took is heard of, whatever comes then"
    assert len(fleet.sequences("telemetry")) > KILLS / 2
    assert fleet.doubles
