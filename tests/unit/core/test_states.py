from edgemm.states import (
    BEFORE_ACTIVATION,
    FAILURES,
    FOLLOWS,
    ROLLOUT_FOLLOWS,
    TERMINAL,
    RolloutState,
    UpdateState,
    may_follow,
)


def test_every_state_is_in_the_table() -> None:
    assert set(FOLLOWS) == set(UpdateState)
    assert set(ROLLOUT_FOLLOWS) == set(RolloutState)


def test_an_update_can_end_from_everywhere() -> None:
    for start in set(UpdateState) - {UpdateState.IDLE}:
        seen, wave = {start}, {start}
        while wave:
            wave = {after for before in wave - TERMINAL for after in FOLLOWS[before]} - seen
            seen |= wave
        assert seen & TERMINAL, start


def test_nothing_new_serves_before_activating() -> None:
    reachable = {after for before in BEFORE_ACTIVATION for after in FOLLOWS[before]}
    assert UpdateState.COMMITTED not in reachable
    assert UpdateState.PROBATION not in reachable


def test_steps_may_be_repeated_and_a_failed_attempt_may_be_followed_by_another() -> None:
    assert all(may_follow(state, state) for state in UpdateState)
    assert all(may_follow(state, UpdateState.ACCEPTED) for state in FAILURES)
    assert not may_follow(UpdateState.COMMITTED, UpdateState.PROBATION)
