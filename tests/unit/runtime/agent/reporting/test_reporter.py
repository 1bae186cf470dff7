"""What the device says: nothing that changes while a report is made is left out of the next one."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.messages import Event, Reported, Stream, StreamAck, SystemGauges, decode_telemetry
from edgemm.reasons import Reason
from edgemm.topics import Channel
from edgemm.trust.signing import PayloadType, unseal
from edgemm_runtime.agent.reporting.reporter import Reporter, Situation
from edgemm_runtime.agent.reporting.telemetry import Served
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.documents import ModelFile
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.agent.state.time_keeper import Clock
from edgemm_runtime.agent.state.trusted_time import TrustedTime

BOOT = "5e75f1c3b00c5237"


class _Link:
    """A connection that takes messages, or not."""

    def __init__(self) -> None:
        self.connected, self.takes = True, True
        self.reports: list[bytes] = []

    def publish(self, channel: Channel, payload: bytes) -> bool:
        if self.takes and channel is Channel.REPORTED:
            self.reports.append(payload)
        return self.takes


@pytest.fixture
def signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@contextmanager
def _speaking(
    path: Path, boot: str, signer: CryptoSigner, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[tuple[Reporter, Spool]]:
    """One start of a device, over the spool that the one before it left."""
    spool = Spool(path, SpoolSettings(boot=boot, boot_count=1, max_bytes=1 << 20))
    now, clock = TrustedTime(1.8e9, clock_synced=True), Clock(monotonic=monotonic)
    yield (
        Reporter(
            Speaker("home", "pi", boot, 1),
            signer,
            spool,
            now=lambda: now,
            clock=clock,
            limits=AgentLimits(),
            draw=lambda: 0.5,
        ),
        spool,
    )
    spool.close()


@pytest.fixture
def reporter(tmp_path: Path, signer: CryptoSigner) -> Iterator[Reporter]:
    with _speaking(tmp_path / "spool.sqlite", BOOT, signer) as (reporter, _):
        yield reporter


def _at(generation: int, *models: str) -> Situation:
    records = tuple(ModelFile(name=name) for name in models)
    return Situation(records=records, generation=generation, wanted=frozenset(models), engines={}, actions=())


def _heard(link: _Link, signer: CryptoSigner) -> list[int]:
    keys = [signer.public_key]
    return [unseal(data, PayloadType.REPORTED, Reported, keys=keys).generation for data in link.reports]


def test_a_state_is_told_once(reporter: Reporter, signer: CryptoSigner) -> None:
    link = _Link()
    for _ in range(3):
        reporter.pump(link, lambda: _at(1))
    assert _heard(link, signer) == [1]


def test_what_changes_while_a_report_is_made_is_told_by_the_next(reporter: Reporter, signer: CryptoSigner) -> None:
    link, generation = _Link(), 1

    def look() -> Situation:
        nonlocal generation
        seen = _at(generation)
        generation = 2
        reporter.changed()  # as by an updater's thread, right after the look
        return seen

    reporter.pump(link, look)
    reporter.pump(link, lambda: _at(generation))
    reporter.pump(link, lambda: _at(generation))
    assert _heard(link, signer) == [1, 2]


def test_what_changes_right_after_a_report_was_sent_is_told_by_the_next(
    reporter: Reporter, signer: CryptoSigner
) -> None:
    class Interleaved(Reporter):
        """Reads its flag, and only then goes on: a change by another thread comes between once."""

        def __getattribute__(self, name: str) -> object:
            found = super().__getattribute__(name)
            if name == "_changed" and link.reports and not changes:
                changes.append("by another thread")
                self.changed()
            return found

    link, changes = _Link(), list[str]()
    reporter.__class__ = Interleaved
    for generation in (1, 2, 3):
        reporter.pump(link, lambda: _at(generation))  # noqa: B023 - called at once
    assert changes
    assert len(_heard(link, signer)) == 2


def test_many_changes_from_another_thread_end_in_the_last_state(reporter: Reporter, signer: CryptoSigner) -> None:
    link, generation = _Link(), 0

    def change() -> None:
        nonlocal generation
        for _ in range(2000):
            generation += 1
            reporter.changed()

    thread = threading.Thread(target=change)
    thread.start()
    while thread.is_alive():
        reporter.pump(link, lambda: _at(generation))
    reporter.pump(link, lambda: _at(generation))
    assert _heard(link, signer)[-1] == 2000


@pytest.mark.parametrize("fault", [pytest.param(False, id="not taken"), pytest.param(True, id="look fails")])
def test_a_report_that_was_not_sent_is_sent_later(reporter: Reporter, signer: CryptoSigner, *, fault: bool) -> None:
    link = _Link()
    link.takes = fault
    look: Callable[[], Situation] = _fail if fault else lambda: _at(1)
    try:
        reporter.pump(link, look)
    except ZeroDivisionError:
        assert fault
    link.takes = True
    reporter.pump(link, lambda: _at(2))
    assert _heard(link, signer) == [2]


def _fail() -> Situation:
    raise ZeroDivisionError


class _Storing:
    """A broker and fleet that store what they are sent and acknowledge when they are asked to."""

    def __init__(self) -> None:
        self.connected = True
        self.unanswered: list[int] = []
        self.stored: list[int] = []

    def publish(self, channel: Channel, payload: bytes) -> bool:
        if channel is Channel.TELEMETRY:
            self.unanswered.append(decode_telemetry(payload).sequence)
        return True

    def answer(self, number: int) -> StreamAck:
        """Store the first `number` of what was not answered yet."""
        self.stored += self.unanswered[:number]
        del self.unanswered[:number]
        return StreamAck(boot=BOOT, stream=Stream.TELEMETRY, sequence=self.stored[-1])


@pytest.mark.parametrize("at_once", [7, 64, 1000])
def test_what_a_day_left_goes_out_a_window_at_a_time(reporter: Reporter, at_once: int) -> None:
    """However quickly the fleet answers, no more is on its way than the limit, and nothing is sent twice."""
    windows, fleet = 150, _Storing()
    for _ in range(windows):
        reporter.measure(Served(), frozenset(), SystemGauges())
    reporter.connected()
    most = 0
    while len(fleet.stored) < windows:
        reporter.pump(fleet, lambda: _at(1))
        most = max(most, len(fleet.unanswered))
        assert fleet.unanswered, "it goes on"
        reporter.acknowledge([fleet.answer(at_once)])
    assert fleet.stored == list(range(1, windows + 1))
    assert most == AgentLimits().in_flight_messages == 64


def test_a_fleet_that_is_silent_is_sent_one_window_and_no_more(reporter: Reporter) -> None:
    fleet = _Storing()
    for _ in range(100):
        reporter.measure(Served(), frozenset(), SystemGauges())
    for _ in range(20):
        reporter.pump(fleet, lambda: _at(1))
    assert fleet.unanswered == list(range(1, 65))


class _Manager:
    """A fleet manager as `ADR 0004` has it: it acknowledges up to where nothing is missing from the floor on."""

    def __init__(self, signer: CryptoSigner) -> None:
        self.connected, self._keys = True, [signer.public_key]
        self.stored: dict[tuple[str, Stream], set[int]] = {}
        self._floors: dict[tuple[str, Stream], int] = {}

    def publish(self, channel: Channel, payload: bytes) -> bool:
        if channel is Channel.TELEMETRY:
            window = decode_telemetry(payload)
            self._store((window.boot.hex(), Stream.TELEMETRY), window.sequence, window.floor)
        elif channel is Channel.EVENT:
            event = unseal(payload, PayloadType.EVENT, Event, keys=self._keys)
            self._store((event.boot, Stream.EVENT), event.sequence, event.floor)
        return True

    def _store(self, key: tuple[str, Stream], sequence: int, floor: int) -> None:
        self.stored.setdefault(key, set()).add(sequence)
        self._floors[key] = max(floor, self._floors.get(key, 1))

    def acks(self) -> list[StreamAck]:
        return [StreamAck(boot=key[0], stream=key[1], sequence=self._reached(key)) for key in self.stored]

    def _reached(self, key: tuple[str, Stream]) -> int:
        reached = self._floors[key] - 1
        while reached + 1 in self.stored[key]:
            reached += 1
        return reached


DAMAGES = {
    "cut short": "body = substr(body, 1, length(body) - 9)",
    "no text": "body = x'7b226361757365223a22ff227d'",
    "of another version": """body = CAST('{"v":99}' AS BLOB)""",
    "another message": "body = (SELECT m.body FROM message AS m WHERE m.stream = message.stream AND m.sequence = 6)",
    "not of bytes": "body = 17",
    "of an unknown stream": "stream = 'later'",
    "of a boot that is no text": "boot = CAST(x'e2' || substr(CAST(boot AS BLOB), 2) AS TEXT)",
    "of a boot that is none": "boot = boot || 'x'",
    "no number of a message": "sequence = -sequence",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stream", Stream)
@pytest.mark.parametrize("sequences", [(1,), (3,), (1, 2, 4)], ids=str)
def test_a_message_that_nobody_can_read_is_dropped_and_holds_nothing_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, stream: Stream, sequences: tuple[int, ...]
) -> None:
    path, before, signer = tmp_path / "spool.sqlite", "b" * 16, CryptoSigner.generate_ed25519()
    with _speaking(path, before, signer) as (reporter, _):
        for _ in range(6):
            reporter.note(Reason("noted"))
            reporter.measure(Served(), frozenset(), SystemGauges())
    with closing(sqlite3.connect(path)) as database, database:
        for sequence in sequences:
            query = f"UPDATE message SET {DAMAGES[damage]} WHERE stream = ? AND sequence = ?"
            assert database.execute(query, (stream.value, sequence)).rowcount == 1
    now_s, manager = 1000.0, _Manager(signer)
    with _speaking(path, BOOT, signer, monotonic=lambda: now_s) as (reporter, spool):
        reporter.connected()
        for _ in range(12):
            reporter.pump(manager, lambda: _at(1))
            reporter.acknowledge(manager.acks())
            now_s += 10
        reporter.measure(Served(), frozenset(), SystemGauges())
        reporter.pump(manager, lambda: _at(1))
        told = spool.gauges()
    expected = {(before, s): set(range(1, 7)) - (set(sequences) if s is stream else set()) for s in Stream}
    assert manager.stored == expected | {(BOOT, Stream.TELEMETRY): {1}}
    assert (told.waiting, told.dropped) == (1, len(sequences))
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT boot FROM message").fetchall() == [(BOOT,)], "they are removed"


@pytest.mark.parametrize("byte", [b"c", b"\xe2"], ids=["another boot", "no text"])
def test_a_row_that_storage_changed_behind_its_index_holds_nothing_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, byte: bytes
) -> None:
    path, before, signer = tmp_path / "spool.sqlite", "b" * 16, CryptoSigner.generate_ed25519()
    with _speaking(path, before, signer) as (reporter, _):
        for _ in range(6):
            reporter.measure(Served(), frozenset(), SystemGauges())
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (body,) = database.execute("SELECT body FROM message WHERE sequence = 3").fetchone()
    data = path.read_bytes()
    start = data.rindex(before.encode(), 0, data.index(body))  # of the row: what is in the index has no body
    path.write_bytes(data[:start] + byte + data[start + 1 :])
    now_s, manager = 1000.0, _Manager(signer)
    with _speaking(path, BOOT, signer, monotonic=lambda: now_s) as (reporter, spool):
        reporter.connected()
        for _ in range(12):
            reporter.pump(manager, lambda: _at(1))
            reporter.acknowledge(manager.acks())
            now_s += 10
        told = spool.gauges()
    assert manager.stored == {(before, Stream.TELEMETRY): {1, 2, 4, 5, 6}}
    assert (told.waiting, told.dropped) == (0, 1)
    assert "index made anew" in caplog.text


def test_a_fleet_that_stores_nothing_is_sent_the_same_less_and_less_until_it_answers(
    tmp_path: Path, signer: CryptoSigner
) -> None:
    now_s, fleet = 0.0, _Storing()
    sent_s = list[float]()
    with _speaking(tmp_path / "spool.sqlite", BOOT, signer, monotonic=lambda: now_s) as (reporter, _):
        reporter.measure(Served(), frozenset(), SystemGauges())

        def pass_time(until_s: float) -> None:
            nonlocal now_s
            while now_s < until_s:
                now_s += 1
                reporter.pump(fleet, lambda: _at(1))
                sent_s.extend([now_s] * len(fleet.unanswered))
                fleet.unanswered.clear()

        pass_time(400)
        assert sent_s == [1, 31, 76, 136, 226, 376]
        reporter.acknowledge([StreamAck(boot=BOOT, stream=Stream.TELEMETRY, sequence=9)])
        pass_time(500)
        assert sent_s[6:] == [], "an answer that cannot be true is none"
        reporter.acknowledge([StreamAck(boot="c" * 16, stream=Stream.EVENT, sequence=1)])
        pass_time(502)
        assert sent_s[6:] == [501], "who answers hears at once what it lacks"
        reporter.connected()
        pass_time(534)
        assert sent_s[6:] == [501, 503, 533]
