"""Any order, loss and repetition of messages leads to the same store; an ack never covers what is not stored."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemm.states import RolloutState
from edgemm_fleet.ingest.contiguity import contiguous
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import reported, streams
from simulators.broker import LocalFleet, digest_of
from simulators.device import Outcome, Outgoing

pytestmark = pytest.mark.fleet

PAIRS = st.tuples(st.integers(1, 12), st.integers(1, 12))
ITEMS = st.lists(PAIRS.map(lambda pair: (max(pair), min(pair))), max_size=30)


@given(ITEMS, st.randoms(use_true_random=False))
def test_contiguity_is_what_counting_by_hand_gives(items: list[tuple[int, int]], rng: random.Random) -> None:
    """`items` are (sequence, floor); they come in any batches."""
    position, stored, highest_floor = 0, set[int](), 1
    waiting = list(items)
    while waiting:
        batch, waiting = waiting[: (size := rng.randint(1, 4))], waiting[size:]
        stored |= {sequence for sequence, _ in batch}
        floor = max(floor for _, floor in batch)
        highest_floor = max(highest_floor, floor)
        position = contiguous(position, floor=floor, stored=sorted(s for s in stored if s > position))
        by_hand = highest_floor - 1
        while by_hand + 1 in stored:
            by_hand += 1
        assert position == by_hand


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.sampled_from([Outcome.COMMIT, Outcome.SELFTEST_FAILED, Outcome.ERRORS]))
def test_any_order_loss_and_repetition_of_messages_ends_in_the_same_store(seed: int, outcome: Outcome) -> None:
    calm = _final_state(outcome, seed=None)
    assert _final_state(outcome, seed=seed) == calm


def _final_state(outcome: Outcome, *, seed: int | None) -> object:
    """Run one rollout; with a seed, messages are lost, doubled and reordered, until each is acknowledged."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = LocalFleet(Path(folder))
        try:
            fleet.add("cam-1", "cam-2")
            for device in fleet.devices.values():
                device.outcomes[digest_of("1.0.0")] = outcome
            if seed is not None:
                fleet.disturb = _disturbance(random.Random(seed))
            # Errors alone never halt here: when a halt comes depends on what is heard first, and so do its effects.
            rollout = fleet.run("1.0.0", Group(percent=100, error_threshold=1))
            _until_acknowledged(fleet)
            assert fleet.rollout(rollout).state is not RolloutState.RUNNING
            return _summary(fleet, rollout)
        finally:
            fleet.store.close()


def _disturbance(rng: random.Random) -> Callable[[list[Outgoing]], list[Outgoing]]:
    def disturb(messages: list[Outgoing]) -> list[Outgoing]:
        kept = [m for m in messages if rng.random() > 0.3] + [m for m in messages if rng.random() > 0.7]
        rng.shuffle(kept)
        return kept

    return disturb


def _until_acknowledged(fleet: LocalFleet) -> None:
    """Let devices connect again, as they do, until they hold nothing back and their last report came through."""
    for attempt in range(100):
        if attempt == 99:
            fleet.disturb = list
        for device in fleet.devices.values():
            fleet.deliver(device.connect())
        fleet.settle()
        with fleet.store.read() as tx:
            newest = {name: reported.find(tx, name) for name in fleet.devices}
        heard = all(r is not None and r.reported.sequence == fleet.devices[n]._sequence for n, r in newest.items())
        if heard and not any(device.unacknowledged() for device in fleet.devices.values()):
            return


def _summary(fleet: LocalFleet, rollout: str) -> object:
    with fleet.store.read() as tx:
        events = {
            name: sorted((r.event.sequence, r.event.to_state) for r in streams.page_events(tx, name, limit=1000).items)
            for name in fleet.devices
        }
        models = {name: record.reported.models for name, record in reported.of(tx, list(fleet.devices)).items()}
    states = {name: [(m.state, m.reason, m.active_version) for m in found] for name, found in models.items()}
    return (fleet.rollout(rollout).state, fleet.states(rollout), events, states)
