"""Reason codes: why an update, a shadow, a `desired` or a device's part in a rollout ended as it did.

One enum for everybody who writes or reads one. It is open: a reader shows a code that it does not know as it is, and
counts it as an error unless the rollout tolerates it. Each code says what happened, and what an operator does about it.
Fields of messages, state files and the database hold the text, for it may be a later version's.
"""

from __future__ import annotations

from edgemm.open_enum import OpenEnum


class Reason(OpenEnum):
    """A code for programs; the detail beside it is for people."""

    # Why an update of a model was not installed, was turned back, or ended.
    NO_SPACE = "no_space"
    """Not enough disk: free as many bytes as the detail says, then try again."""
    NO_MEMORY = "no_memory"
    """Not enough memory for any variant: end something on the device, or publish a smaller variant."""
    NO_ENGINE = "no_engine"
    """No variant runs on what is installed: install or upgrade an engine, or edgemm, on the device."""
    UNREACHABLE = "unreachable"
    """The bytes could not be had for 24 hours: see to the network and to the fleet manager."""
    DAMAGED = "damaged"
    """The bytes that came do not hash to their name: see to the proxy or disk between, then try again."""
    UNTRUSTED = "untrusted"
    """The publisher did not sign this name, version and digest: publish it, or ask for what is published."""
    BELOW_MINIMUM_VERSION = "below_minimum_version"
    """Lower than the minimum version that the publisher signed: ask for a later version."""
    EXPIRED = "expired"
    """The `desired` or the repository's metadata is past its expiry: see to the fleet manager and to its clock."""
    UNSUPPORTED = "unsupported"
    """It is restricted in a way, or is in a state, that the device's edgemm does not know: upgrade edgemm there."""
    SELFTEST_FAILED = "selftest_failed"
    """A golden sample came out wrong: the bundle is wrong for this engine or board; convert it anew."""
    SELFTEST_TIMEOUT = "selftest_timeout"
    """The self-test took longer than 120 s: the model is too large for the device."""
    LOAD_FAILED = "load_failed"
    """The engine cannot load the model: the detail is the engine's; publish another variant."""
    ERRORS = "errors"
    """Too many requests failed in probation: compare the model's inputs with what its clients send."""
    LATENCY = "latency"
    """The median latency in probation was too high: take a smaller variant, or raise the limit."""
    HANG = "hang"
    """The engine did not come back: try another variant or engine."""
    POWER_LOSS = "power_loss"
    """Power was lost 3 times between activation and commit: see to the supply; the model may draw too much."""
    SUPERSEDED = "superseded"
    """Another version is wanted meanwhile: nothing to do."""
    STOPPED = "stopped"
    """The model is no longer wanted: nothing to do."""
    INTERNAL_ERROR = "internal_error"
    """A defect of edgemm: report it with the detail and the device's log."""

    # Why a shadow does not run, beside those above.
    INCOMPATIBLE = "incompatible"
    """It cannot answer the active model's requests, or not be compared: ask for a version of the same signature."""
    NOT_READY = "not_ready"
    """Nothing is active under its name: roll the model out first; it is tried again every minute."""
    NOT_RUNNING = "not_running"
    """Its process failed its golden samples, or crashed or hung 5 times in a row: ask for another version."""

    # Other causes of a device's events.
    ALREADY_ACTIVE = "already_active"
    """A `desired` asks for what runs: nothing to do."""
    ALREADY_FAILED = "already_failed"
    """A `desired` asks for what failed in this attempt: a new rollout makes another attempt."""
    ACTIVE_LOST = "active_lost"
    """The active model can no longer be served, and the one before it is: see to the storage and the engine."""
    POWER_LOST = "power_lost"
    """The agent found an update between activation and commit; the third time it is `power_loss`."""
    AGENT_STARTED = "agent_started"
    """The agent started: nothing to do."""
    DESIRED_CONFLICT = "desired_conflict"
    """A `desired` says other things under a known generation: is there a second fleet manager?"""
    DESIRED_FOREIGN = "desired_foreign"
    """A `desired` is another device's: is somebody publishing under this device's topic?"""
    DESIRED_EXPIRED = "desired_expired"
    """A `desired` came after its expiry: see to the fleet manager and to the clocks."""
    DESIRED_TOO_EARLY = "desired_too_early"
    """A `desired` is not valid yet: see to the clocks."""
    DESIRED_UNTRUSTED = "desired_untrusted"
    """A `desired` cannot be read, or the director did not sign it: upgrade the device, or see who publishes there."""
    DESIRED_IMPLAUSIBLE = "desired_implausible"
    """A generation that no fleet manager's clock can have made: rotate the director's key; who else has it?"""
    STATE_PUT_ASIDE = "state_put_aside"
    """A state file of a newer agent was put aside and begun anew: upgrade the agent again, or leave it so."""
    TIME_LOWERED = "time_lowered"
    """By a statement of the fleet's time the device took its trusted time back: see to the device's clock."""

    # What makes a device doubt its time, beside `expired`, `desired_expired` and `desired_too_early`.
    CLOCK_AHEAD = "clock_ahead"
    """The system clock is ahead of the fleet's time: set it (timedatectl set-ntp true); the device works meanwhile."""
    CLOCK_BEHIND = "clock_behind"
    """The system clock is behind the trusted time: set it, or fit a battery; the device works meanwhile."""
    CLOCK_LEAPT = "clock_leapt"
    """The system clock went ahead by more than a day at once: see what sets it."""
    TIME_ASKED = "time_asked"
    """An operator had the device ask for the time: nothing to do."""

    # What the fleet manager notes of a device in a rollout.
    UNREACHED = "unreached"
    """The device did not report within the group's deadline: it is caught up in the last group."""
    DEADLINE = "deadline"
    """The device reported and did not begin to activate in time: see to its network."""
    SILENT = "silent"
    """The device was not heard of after it began to activate: see whether it is alive."""
    DESIRED_TOO_LARGE = "desired_too_large"
    """What is wanted of the device fits into no message: want fewer models of it, or shorter lists of variants."""
    GENERATION_UNBELIEVABLE = "generation_unbelievable"
    """The device reports a generation that no manager's clock can have made: enrol it anew; who else has its key?"""
    REMOVED = "removed"
    """The device was removed from the fleet: nothing to do."""
