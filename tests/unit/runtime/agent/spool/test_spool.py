from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edgemm.messages import Stream, StreamAck
from edgemm_runtime.agent.spool.budget import SpoolRules
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool, open_spool

BOOTS = ("a" * 16, "b" * 16)


def _open(path: Path, boot: int = 0, max_bytes: int = 10_000) -> Spool:
    settings = SpoolSettings(boot=BOOTS[boot], boot_count=boot + 1, max_bytes=max_bytes)
    return open_spool(path / "spool.sqlite", settings)


def _add(spool: Spool, count: int, stream: Stream = Stream.EVENT, size: int = 36) -> None:
    for _ in range(count):
        assert spool.add(stream, bytes(size), sequence=spool.next_sequence(stream))


def _held(spool: Spool) -> list[tuple[str, str, int, int]]:
    return [(m.boot[0], m.stream.value, m.sequence, m.floor) for m in spool.after(0, limit=1000)]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = _open(tmp_path)
    yield spool
    spool.close()


def test_messages_are_numbered_by_stream_and_come_in_order(spool: Spool) -> None:
    _add(spool, 1)
    _add(spool, 2, Stream.TELEMETRY)
    _add(spool, 1)
    assert _held(spool) == [
        ("a", "event", 1, 1),
        ("a", "telemetry", 1, 1),
        ("a", "telemetry", 2, 1),
        ("a", "event", 2, 1),
    ]


def test_only_an_acknowledgement_drops(spool: Spool) -> None:
    _add(spool, 3)
    assert spool.acknowledge([StreamAck(boot=BOOTS[0], stream=Stream.EVENT, sequence=2)]) == 2
    assert spool.acknowledge([StreamAck(boot=BOOTS[0], stream=Stream.EVENT, sequence=2)]) == 0
    assert spool.acknowledge([StreamAck(boot=BOOTS[0], stream=Stream.TELEMETRY, sequence=99)]) == 0
    assert spool.acknowledge([StreamAck(boot=BOOTS[1], stream=Stream.EVENT, sequence=99)]) == 0
    assert _held(spool) == [("a", "event", 3, 3)]
    assert (spool.gauges().waiting, spool.gauges().dropped) == (1, 0)


def test_beyond_the_cap_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    spool = _open(tmp_path, max_bytes=500)
    _add(spool, 7)
    assert _held(spool) == [("a", "event", n, 3) for n in (3, 4, 5, 6, 7)]
    assert (spool.gauges().waiting, spool.gauges().dropped) == (5, 2)
    spool.close()


def test_an_earlier_boot_is_sent_first_and_keeps_its_numbers(tmp_path: Path) -> None:
    first = _open(tmp_path)
    _add(first, 2)
    first.close()
    second = _open(tmp_path, boot=1)
    _add(second, 1)
    assert _held(second) == [("a", "event", 1, 1), ("a", "event", 2, 1), ("b", "event", 1, 1)]
    assert second.gauges().waiting == 3
    second.close()


def test_a_transition_is_spooled_once_even_after_it_was_stored(tmp_path: Path) -> None:
    first = _open(tmp_path)
    assert first.add_once(Stream.EVENT, b"x", sequence=1, source="models/tiny", serial=5)
    first.acknowledge([StreamAck(boot=BOOTS[0], stream=Stream.EVENT, sequence=1)])
    first.close()
    second = _open(tmp_path, boot=1)
    assert second.add_once(Stream.EVENT, b"x", sequence=1, source="models/tiny", serial=5)
    assert second.add_once(Stream.EVENT, b"y", sequence=1, source="models/tiny", serial=6)
    assert [m.body for m in second.after(0, limit=9)] == [b"y"]
    second.close()


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_the_new_message_and_nothing_else(tmp_path: Path) -> None:
    spool = _open(tmp_path, max_bytes=10**9)
    _add(spool, 3)
    with _file_size_limit(1024):
        assert not spool.add(Stream.EVENT, bytes(10_000), sequence=4)
    assert (spool.gauges().waiting, spool.gauges().dropped) == (3, 1)
    _add(spool, 1)
    assert [m.sequence for m in spool.after(0, limit=9)] == [1, 2, 3, 4]
    spool.close()


def test_a_damaged_spool_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"this is no database" * 1000)
    spool = _open(tmp_path)
    _add(spool, 1)
    assert len(_held(spool)) == 1
    spool.close()


def test_a_spool_that_cannot_be_opened_is_kept_in_memory(tmp_path: Path) -> None:
    spool = _open(tmp_path / "missing")
    _add(spool, 2)
    assert spool.gauges().waiting == 2
    spool.close()


def test_in_memory_the_cap_holds_as_on_disk_and_nothing_is_budgeted(tmp_path: Path) -> None:
    settings = SpoolSettings(boot=BOOTS[0], boot_count=1, max_bytes=500, day_bytes=0)
    spool = open_spool(tmp_path / "missing" / "spool.sqlite", settings)
    _add(spool, 7)
    assert _held(spool) == [("a", "event", n, 3) for n in (3, 4, 5, 6, 7)]
    assert (spool.gauges().dropped, spool.gauges().unwritten) == (2, 0)
    spool.close()


@pytest.mark.parametrize("table", ["message", "spooled"])
def test_a_page_that_rotted_costs_the_spool_and_not_the_device(tmp_path: Path, table: str) -> None:
    spool = _open(tmp_path, max_bytes=10**6)
    for serial in range(1, 200):
        assert spool.add_once(Stream.EVENT, bytes(100), sequence=serial, source=f"models/m{serial}", serial=serial)
    spool.close()
    path = tmp_path / "spool.sqlite"
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = b"\xa5" * size
    path.write_bytes(data)
    spool = _open(tmp_path, boot=1)
    assert spool.add_once(Stream.EVENT, b"x", sequence=1, source="models/tiny", serial=1)
    assert _held(spool) == [("b", "event", 1, 1)]
    spool.close()
    assert _held_on_disk(tmp_path) == 1


def _held_on_disk(path: Path) -> int:
    spool = _open(path, boot=1)
    try:
        return spool.gauges().waiting
    finally:
        spool.close()


def test_a_database_that_fails_costs_the_new_message_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as database:
        database.execute("CREATE TRIGGER t BEFORE INSERT ON spooled BEGIN SELECT RAISE(ABORT, 'worn out'); END")
        database.commit()
    spool = _open(tmp_path)
    _add(spool, 1)
    assert not spool.add_once(Stream.EVENT, b"x", sequence=2, source="models/tiny", serial=1)
    assert (spool.gauges().waiting, spool.gauges().dropped) == (1, 0), "it is told again, and so not dropped"
    assert not spool.add_once(Stream.EVENT, b"x", sequence=2, source="models/tiny", serial=1)
    assert "worn out" in caplog.text
    assert caplog.text.count("spool cannot keep a message") == 1, "a disk that is full for a week does not fill the log"
    spool.close()


def test_the_last_serial_of_a_source_outlives_its_record(tmp_path: Path) -> None:
    spool = _open(tmp_path)
    assert spool.last_serial("models/tiny") == 0
    assert spool.add_once(Stream.EVENT, b"x", sequence=1, source="models/tiny", serial=5)
    assert spool.last_serial("models/tiny") == 5
    spool.close()


def test_what_is_given_up_is_passed_over_counted_once_and_removed_once_the_disk_has_room(tmp_path: Path) -> None:
    spool = _open(tmp_path, max_bytes=10**6)
    _add(spool, 4)
    given_up = spool.after(0, limit=2)
    with _file_size_limit(0):
        assert spool.give_up(given_up) == 2
    assert spool.give_up(given_up) == 0
    assert _held(spool) == [("a", "event", 3, 3), ("a", "event", 4, 3)]
    assert (spool.gauges().waiting, spool.gauges().dropped) == (2, 2)
    assert spool.acknowledge([StreamAck(boot=BOOTS[0], stream=Stream.EVENT, sequence=3)]) == 1
    spool.close()
    again = _open(tmp_path, boot=1)
    assert _held(again) == [("a", "event", 4, 4)]
    assert (again.gauges().waiting, again.gauges().dropped) == (1, 0)
    again.close()


def test_what_is_given_up_in_memory_is_never_written(tmp_path: Path) -> None:
    rules = SpoolRules(hold_s=1e9)
    spool = Spool(tmp_path / "spool.sqlite", SpoolSettings(boot=BOOTS[0], boot_count=1, max_bytes=10_000, rules=rules))
    _add(spool, 3, Stream.TELEMETRY)
    assert spool.give_up(spool.after(0, limit=2)[1:]) == 1
    spool.close()
    again = _open(tmp_path, boot=1)
    assert _held(again) == [("a", "telemetry", 1, 1), ("a", "telemetry", 3, 1)]
    again.close()
