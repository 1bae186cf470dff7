"""Two checkouts in interleaved pairs: what their loads say of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving import against
from benchmarks.serving.against import LoadPair, ratios
from benchmarks.serving.wrk import Load


def load(p50_us: float, per_s: float, *, failed: int = 0) -> Load:
    return Load(requests=int(per_s), duration_us=1_000_000, p50_us=p50_us, p99_us=2 * p50_us, failed=failed)


def test_a_pair_that_the_machine_slowed_down_says_the_same_as_the_others() -> None:
    pairs = [LoadPair(load(slow * 102, 1000 / slow), load(slow * 100, 1000 / slow)) for slow in (1, 7, 3)]
    found = ratios(pairs)
    assert (found.p50, found.per_s) == pytest.approx((1.02, 1))
    assert (found.pairs, found.reached) == (3, True)


def test_one_pair_of_which_a_side_was_slowed_down_changes_no_median() -> None:
    pairs = [LoadPair(load(100, 1000), load(100, 1000))] * 4 + [LoadPair(load(900, 100), load(100, 1000))]
    assert (ratios(pairs).p50, ratios(pairs).per_s) == (1, 1)


@pytest.mark.parametrize(
    "here", [load(106, 1000), load(100, 940), load(100, 1000, failed=1)], ids=["latency", "throughput", "failed"]
)
def test_what_is_more_than_5_percent_worse_or_fails_is_told(here: Load) -> None:
    pairs = [LoadPair(here, load(100, 1000))] * 3
    assert not ratios(pairs).reached
    row = against.as_text({("v2 JSON", 8): pairs}).splitlines()[2]
    assert row.startswith("| v2 JSON | 8 |")
    assert row.endswith("| NO |" if not here.failed else "| 3 failed |")


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give a checkout's root"):
        against._require(against._server(tmp_path, "there"))
    against._require(against._server(against.HERE, "here"))
