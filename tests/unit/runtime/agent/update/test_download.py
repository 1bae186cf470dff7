"""Blobs over a flaky server: cut, wrong, missing, slow to come back, without ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from edgemm.bundle.blobs import BlobFolder
from edgemm.errors import DigestMismatchError, EnvironmentFailure, NotFoundError, UnreachableError
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.update.download import BlobDownloader
from simulators.fleet_http import FleetHttp

DATA = bytes(range(256)) * 4096
AGAIN = 64 * 1024
"""How many bytes a cut may cost."""
DIGEST = hashlib.sha256(DATA).hexdigest()


@dataclass
class Bench:
    http: FleetHttp
    blobs: BlobFolder
    partial: Path

    def downloader(self) -> BlobDownloader:
        """Return a downloader as a newly started agent has it."""
        server = FleetConnection(self.http.url, tls_fingerprint=None, connect_timeout_s=5, read_timeout_s=5, bearer="b")
        return BlobDownloader(server, self.blobs, self.partial, sync_bytes=64 * 1024)

    def fetch(self) -> None:
        self.downloader().fetch(DIGEST, len(DATA), check=lambda: None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    http = FleetHttp(files={}, blobs={DIGEST: DATA}, enrol=lambda body: body, bearers="b".__eq__)
    (tmp_path / "partial").mkdir()
    yield Bench(http, BlobFolder(tmp_path / "blobs"), tmp_path / "partial")
    http.stop()


def _is_complete(bench: Bench) -> bool:
    return bench.blobs.read(DIGEST) == DATA and not list(bench.partial.iterdir())


def test_a_blob_gets_its_name_when_it_is_whole(bench: Bench) -> None:
    assert bench.downloader().missing_bytes(DIGEST, len(DATA)) == len(DATA)
    bench.fetch()
    assert _is_complete(bench)
    assert bench.downloader().missing_bytes(DIGEST, len(DATA)) == 0


def test_a_cut_at_99_percent_costs_at_most_64_kib(bench: Bench) -> None:
    cut = len(DATA) * 99 // 100
    bench.http.faults.cut_after = [cut]
    with pytest.raises(UnreachableError):
        bench.fetch()
    assert not bench.blobs.has(DIGEST)
    bench.fetch()
    assert _is_complete(bench)
    assert bench.http.faults.sent_bytes - len(DATA) <= AGAIN


def test_every_cut_is_resumed_where_it_was(bench: Bench) -> None:
    bench.http.faults.cut_after = [100_000] * 8
    for _ in range(8):
        with pytest.raises(UnreachableError):
            bench.fetch()
    bench.fetch()
    assert _is_complete(bench)
    offsets = [offset for _, offset in bench.http.faults.asked]
    assert all(after >= before + 100_000 - AGAIN for before, after in pairwise(offsets))
    assert bench.http.faults.sent_bytes - len(DATA) <= 8 * AGAIN


def test_wrong_bytes_never_get_the_name_and_are_fetched_anew(bench: Bench) -> None:
    bench.http.faults.wrong_bytes = 1
    with pytest.raises(DigestMismatchError, match="expected sha256"):
        bench.fetch()
    assert not bench.blobs.has(DIGEST)
    bench.fetch()
    assert _is_complete(bench)


def test_a_partial_file_that_rotted_costs_a_new_start(bench: Bench) -> None:
    (bench.partial / DIGEST).write_bytes(b"rotten" * 1000)
    with pytest.raises(DigestMismatchError):
        bench.fetch()
    bench.fetch()
    assert _is_complete(bench)


def test_a_server_without_ranges_costs_a_new_start(bench: Bench) -> None:
    bench.http.faults.cut_after, bench.http.faults.ignore_ranges = [500_000], True
    with pytest.raises(UnreachableError):
        bench.fetch()
    bench.fetch()
    assert _is_complete(bench)


def test_more_bytes_than_the_manifest_says_are_never_kept(bench: Bench) -> None:
    with pytest.raises(DigestMismatchError):
        bench.downloader().fetch(DIGEST, 1000, check=lambda: None)
    assert not bench.blobs.has(DIGEST)
    assert not list(bench.partial.iterdir())


@pytest.mark.parametrize(("status", "error"), [(503, UnreachableError), (429, UnreachableError), (404, NotFoundError)])
def test_a_refusal_is_told_and_leaves_what_came(bench: Bench, status: int, error: type[Exception]) -> None:
    bench.http.faults.cut_after = [300_000]
    with pytest.raises(UnreachableError):
        bench.fetch()
    bench.http.faults.statuses = [status]
    with pytest.raises(error, match=f"HTTP {status}: as asked"):
        bench.fetch()
    bench.fetch()
    assert _is_complete(bench)
    assert bench.http.faults.sent_bytes - len(DATA) <= AGAIN


def test_a_server_that_is_gone(bench: Bench) -> None:
    bench.http.stop()
    with pytest.raises(UnreachableError, match=r"cannot reach .*: .*; is `edgemm fleet serve` running\?"):
        bench.fetch()


def test_an_interrupt_stops_in_the_middle_and_keeps_what_came(bench: Bench) -> None:
    pieces = []

    def check() -> None:
        pieces.append(1)
        if len(pieces) == 3:
            raise InterruptedError

    with pytest.raises(EnvironmentFailure):
        bench.downloader().fetch(DIGEST, len(DATA), check=check)
    assert 0 < (bench.partial / DIGEST).stat().st_size < len(DATA)
    bench.fetch()
    assert _is_complete(bench)


def test_a_blob_that_rotted_on_disk_is_fetched_again(bench: Bench) -> None:
    bench.fetch()
    bench.blobs.path(DIGEST).write_bytes(b"rotten")
    bench.fetch()
    assert _is_complete(bench)


def test_a_disk_that_cannot_be_written_is_told(bench: Bench) -> None:
    bench.partial.rmdir()
    with pytest.raises(EnvironmentFailure, match=r"cannot write .*: No such file or directory"):
        bench.fetch()


def _fetch_within(bench: Bench, *, min_bytes_per_s: int) -> None:
    """Fetch by a downloader whose limits on slowness are short, and that on documents shorter still."""
    server = FleetConnection(
        bench.http.url, tls_fingerprint=None, connect_timeout_s=30, read_timeout_s=30, bearer="b",
        slow_s=0.4, min_bytes_per_s=min_bytes_per_s, document_s=0.1,
    )  # fmt: skip
    downloader = BlobDownloader(server, bench.blobs, bench.partial, sync_bytes=64 * 1024)
    downloader.fetch(DIGEST, len(DATA), check=lambda: None)


def test_a_trickle_is_given_up_and_resumed_where_it_was(bench: Bench) -> None:
    bench.http.faults.trickle_after = 300_000
    with pytest.raises(UnreachableError, match=r"bytes in 0\.4 s, expected at least 40,000"):
        _fetch_within(bench, min_bytes_per_s=100_000)
    came = (bench.partial / DIGEST).stat().st_size
    assert came >= 300_000
    bench.http.faults.release.set()
    _fetch_within(bench, min_bytes_per_s=100_000)
    assert _is_complete(bench)
    assert bench.http.faults.asked[-1] == (DIGEST, came)


def test_a_slow_link_makes_progress_for_longer_than_any_limit(bench: Bench) -> None:
    bench.http.faults.trickle_after = len(DATA) - 100
    _fetch_within(bench, min_bytes_per_s=1)
    assert _is_complete(bench)
