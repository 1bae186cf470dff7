"""A batch of reports leaves what the same reports leave one by one: verdicts, rows and facts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from edgemm.messages import Reported, ReportedModel
from edgemm.states import UpdateState
from edgemm_fleet.records.report_order import Verdict
from edgemm_fleet.store import Store, reported
from edgemm_fleet.store.facts.fact_tables import device_facts, facts
from edgemm_fleet.store.schema import reported as table
from simulators.broker import START, enrol

pytestmark = pytest.mark.fleet
SIGNER = CryptoSigner.generate_ed25519()
IDS = ("cam-1", "cam-2", "cam-3")


def reports() -> st.SearchStrategy[Reported]:
    models = st.lists(
        st.builds(
            ReportedModel,
            name=st.just("digits"),
            state=st.sampled_from([UpdateState.ACCEPTED, UpdateState.PROBATION, UpdateState.COMMITTED]),
            digest=st.just("a" * 64),
            version=st.just("1.0.0"),
            attempt=st.just(1),
            active_version=st.sampled_from([None, "1.0.0"]),
        ),
        max_size=1,
    ).map(tuple)
    return st.builds(
        Reported,
        fleet=st.just("lab"),
        device=st.sampled_from(IDS),
        boot=st.sampled_from(["0" * 16, "1" * 16]),
        boot_count=st.integers(1, 2),
        sequence=st.integers(1, 4),
        time=st.just("2026-12-01T00:00:00Z"),
        clock_synced=st.just(True),
        generation=st.sampled_from([0, 1, 5, 2**53 - 1]),
        runtime=st.sampled_from(["0.1.0", "0.2.0"]),
        models=models,
    )


@settings(max_examples=40)
@given(st.lists(st.lists(reports(), max_size=6), max_size=3))
def test_a_batch_is_as_good_as_one_report_after_another(batches: Sequence[Sequence[Reported]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        together = _after(Path(folder) / "together.db", batches)
        singly = _after(Path(folder) / "singly.db", [[report] for batch in batches for report in batch])
    assert together == singly


def _after(path: Path, batches: Sequence[Sequence[Reported]]) -> tuple[list[Verdict], list[object], list[object]]:
    store, verdicts = Store.open(path), list[Verdict]()
    with store.write() as tx:
        for device in IDS:
            enrol(tx, device, SIGNER, labels={"site": "hall"})
    for batch in batches:
        with store.write() as tx:
            taken = reported.ReportBatch(tx, {report.device for report in batch}, now=START)
            verdicts += [taken.hear(report) for report in batch]
            taken.write()
    with store.read() as tx:
        rows: list[object] = [(*row,) for row in tx.execute(select(table).order_by(table.c.device))]
        joined = device_facts.join(facts, facts.c.fact == device_facts.c.fact)
        known = select(device_facts.c.device, facts.c.subject, facts.c.name, facts.c.value).select_from(joined)
        there: list[object] = []
        there += sorted((*row,) for row in tx.execute(known))
        assert set(tx.execute(select(facts.c.fact)).scalars()) == set(tx.execute(select(device_facts.c.fact)).scalars())
    store.close()
    return verdicts, rows, there
