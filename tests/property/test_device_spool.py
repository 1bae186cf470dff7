"""Whatever is acknowledged, in any order and as often as it may be: nothing that is not stored is ever dropped."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemm.messages import Stream, StreamAck
from edgemm_runtime.agent.spool.budget import AT_ONCE, SpoolRules
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool

pytestmark = pytest.mark.runtime

BOOTS = ("a" * 16, "b" * 16)
Step = tuple[str, int, int]

adds = st.tuples(st.just("add"), st.integers(0, 1), st.just(0))
acks = st.tuples(st.just("ack"), st.integers(0, 3), st.integers(0, 12))
restarts = st.tuples(st.just("restart"), st.just(0), st.just(0))
STREAMS = list(Stream)
RULES = [AT_ONCE, SpoolRules(hold_s=1e9), SpoolRules(hold_s=1e9, batch_bytes=9, batch_removals=3)]
"""Each message a commit; windows in memory until the spool is closed; a few at a time."""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(adds, adds, acks, restarts), max_size=40), st.sampled_from(RULES))
def test_only_acknowledged_messages_go(steps: list[Step], rules: SpoolRules) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, boot = Path(folder) / "spool", 0
        spool = Spool(path, SpoolSettings(boot=BOOTS[boot], boot_count=1, max_bytes=10**6, rules=rules))
        expected: set[tuple[str, Stream, int]] = set()
        for kind, which, number in steps:
            stream = STREAMS[which % 2]
            if kind == "add":
                sequence = spool.next_sequence(stream)
                assert spool.add(stream, b"body", sequence=sequence)
                expected.add((BOOTS[boot], stream, sequence))
            elif kind == "ack":
                acked = BOOTS[which // 2]
                spool.acknowledge([StreamAck(boot=acked, stream=stream, sequence=number)])
                expected = {e for e in expected if e[:2] != (acked, stream) or e[2] > number}
            elif boot == 0:
                spool.close()
                boot = 1
                spool = Spool(path, SpoolSettings(boot=BOOTS[boot], boot_count=2, max_bytes=10**6, rules=rules))
        held = spool.after(0, limit=1000)
        assert {(m.boot, m.stream, m.sequence) for m in held} == expected
        assert spool.gauges().waiting == len(expected)
        for message in held:
            same = [e[2] for e in expected if e[:2] == (message.boot, message.stream)]
            assert message.floor == min(same)
        spool.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=40), st.sampled_from(Stream), st.sampled_from(RULES))
def test_the_cap_holds_and_what_is_left_is_the_latest(sizes: list[int], stream: Stream, rules: SpoolRules) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", SpoolSettings(boot=BOOTS[0], boot_count=1, max_bytes=1000, rules=rules))
        for number, size in enumerate(sizes, start=1):
            assert spool.add(stream, bytes(size), sequence=number)
        held = [m.sequence for m in spool.after(0, limit=1000)]
        assert held == list(range(len(sizes) - len(held) + 1, len(sizes) + 1))
        assert sum(sizes[n - 1] + 64 for n in held) <= 1000
        assert spool.gauges().dropped == len(sizes) - len(held)
        spool.close()
