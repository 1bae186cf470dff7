"""The question for the fleet's time, over real TUF metadata and HTTP: which answers count, and how far they go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import UNSET
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edgemm import times
from edgemm.errors import UnreachableError
from edgemm.messages import Action
from edgemm.reasons import Reason
from edgemm.transport.backoff import Backoff
from edgemm.trust.enrolment import TUF_METADATA_PATH
from edgemm.trust.time_statement import ISSUED
from edgemm_fleet.trust import roles
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock, TimeKeeper
from edgemm_runtime.agent.time_sync import VALID_S, TimeSync
from edgemm_runtime.agent.update.trusted_versions import TrustedVersions
from simulators.fleet import SimulatedFleet

pytestmark = pytest.mark.runtime
DAY_S, YEAR_S = 86400.0, 365 * 86400.0
ORDER = Action(id="a", kind="sync-time")


@dataclass
class _Clock:
    """The clocks of a device."""

    ahead_s: float = 0.0
    later_s: float = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self.later_s


class _Device:
    """A device of a fleet, as far as it asks for the time."""

    def __init__(self, fleet: SimulatedFleet, path: Path) -> None:
        self.fleet, self.clock, self.answered = fleet, _Clock(), threading.Event()
        self.folder = StateFolder(path)
        fleet._bearers["b"] = "pi"
        self.start()

    def start(self) -> None:
        """Begin anew on what is on disk."""
        clock = Clock(self.clock.wall, self.clock.monotonic)
        self.keeper = TimeKeeper(self.folder, clock, persist_s=0)
        server = FleetConnection(
            self.fleet.url, tls_fingerprint=None, connect_timeout_s=5, read_timeout_s=5, bearer="b"
        )
        self.versions = TrustedVersions(self.folder.path("tuf"), server, root=self.fleet.tuf.root, now=self.keeper.now)
        self.sync = TimeSync(
            self.keeper, server, self.versions, fleet=self.fleet.name, backoff=Backoff(0.01, 0.01),
            monotonic=self.clock.monotonic, answered=self.answered.set,
        )  # fmt: skip

    def leap(self, seconds: float) -> None:
        """Have been ahead for a moment."""
        self.clock.ahead_s = seconds
        self.keeper.keep()
        self.clock.ahead_s = 0.0

    def ask(self) -> str:
        """Ask, and return in words by how much the time was lowered."""
        self.answered.clear()
        self.clock.later_s += 4000
        self.sync.doubt(Reason.EXPIRED)
        self.sync.look()
        assert self.answered.wait(60)
        return self.sync.take()

    @property
    def off_s(self) -> float:
        """How far trusted time is above the real one."""
        return self.keeper.now().seconds - time.time()


@pytest.fixture
def fleet() -> Iterator[SimulatedFleet]:
    with SimulatedFleet(broker=False) as fleet:
        fleet.state_time()
        yield fleet


@pytest.fixture
def device(fleet: SimulatedFleet, tmp_path: Path) -> Iterator[_Device]:
    device = _Device(fleet, tmp_path)
    yield device
    device.folder.close()


def test_a_leap_is_taken_back_and_stays_so(device: _Device) -> None:
    device.leap(5 * YEAR_S)
    assert device.off_s > 4 * YEAR_S
    told = device.ask()
    assert told.startswith(f"from {times.to_text(time.time() + 5 * YEAR_S)[:10]}")
    assert abs(device.off_s) < 60
    assert device.sync.reported() is UNSET
    device.start()
    assert abs(device.off_s) < 60, "also after a start"


def test_a_clock_that_is_ahead_for_good_is_taken_for_what_it_is(device: _Device) -> None:
    device.clock.ahead_s = 5 * YEAR_S
    device.keeper.keep()
    device.ask()
    told = device.sync.reported()
    assert told is not UNSET
    assert (told.reason, told.detail) == ("clock_ahead", None)
    assert told.ahead_s is not None
    assert abs(told.ahead_s - 5 * YEAR_S) < 60
    for _ in range(2):
        assert abs(device.off_s) < 60
        assert not device.keeper.now().clock_synced
        device.start()
    device.clock.ahead_s = 0.0
    device.sync.look()
    assert device.keeper.trouble() is Reason.CLOCK_BEHIND
    device.ask()
    assert device.keeper.now().clock_synced
    assert device.keeper.trouble() is None


def test_a_clock_of_1970_is_told_and_raises_nothing(device: _Device) -> None:
    device.clock.ahead_s = -time.time()
    before = device.keeper.now().seconds
    assert device.ask() == ""
    assert device.keeper.now().seconds == before
    told = device.sync.reported()
    assert told is not UNSET
    assert told.reason == "clock_behind"
    assert told.ahead_s is not None
    assert told.ahead_s < -50 * YEAR_S


def test_a_manager_that_leaps_takes_no_device_along(device: _Device, fleet: SimulatedFleet) -> None:
    fleet.state_time(ahead_s=5 * YEAR_S)
    assert device.ask() == ""
    assert abs(device.off_s) < 60
    device.leap(3 * YEAR_S)
    assert device.ask() == ""
    fleet.state_time()
    assert device.ask()
    assert abs(device.off_s) < 60


def test_it_never_falls_behind_the_signing_of_root_and_targets(device: _Device, fleet: SimulatedFleet) -> None:
    signed_s = time.time()
    fleet.state_time(ahead_s=-20 * DAY_S)
    device.leap(5 * YEAR_S)
    device.ask()
    assert device.off_s > -60
    assert device.keeper.now().seconds >= int(signed_s) - 60


def test_metadata_without_a_time_of_signing_sets_no_bound(device: _Device, fleet: SimulatedFleet) -> None:
    def earlier(metadata: Metadata[Root], signer: CryptoSigner) -> bytes:
        del metadata.signed.unrecognized_fields[ISSUED]
        metadata.sign(signer)
        return metadata.to_bytes()

    tuf = fleet.tuf
    fleet.tuf.root = earlier(Metadata.from_bytes(tuf.root), tuf._keys["root"])
    tuf.files[f"{TUF_METADATA_PATH}1.root.json"] = tuf.root
    tuf.files[f"{TUF_METADATA_PATH}1.targets.json"] = earlier(tuf._targets, tuf._keys["targets"])  # type: ignore[arg-type]
    device.start()
    fleet.state_time(ahead_s=-20 * DAY_S)
    device.leap(5 * YEAR_S)
    device.ask()
    assert -21 * DAY_S < device.off_s < -19 * DAY_S


def test_metadata_signed_by_a_clock_ahead_bounds_it_and_is_named(device: _Device, fleet: SimulatedFleet) -> None:
    ahead = datetime.fromtimestamp(time.time() + YEAR_S, tz=UTC)
    tuf = fleet.tuf
    tuf._targets = roles.renewed(tuf._targets, now=ahead, lifetimes=roles.DEFAULT_LIFETIMES)
    tuf._targets.sign(tuf._keys["targets"])
    tuf._advance({"targets": tuf._put("targets", tuf._targets)})
    device.leap(5 * YEAR_S)
    assert device.ask()
    assert abs(device.off_s - YEAR_S) < 60
    told = device.sync.reported()
    assert told is not UNSET
    assert told.detail is not None
    assert "metadata was signed at" in told.detail


def test_the_keys_are_those_of_the_newest_root(device: _Device, fleet: SimulatedFleet) -> None:
    tuf, old = fleet.tuf, fleet.tuf._keys["timestamp"]
    root: Metadata[Root] = Metadata.from_bytes(tuf.root)
    new = tuf._keys["timestamp"] = CryptoSigner.generate_ed25519()
    root.signed.revoke_key(old.public_key.keyid, "timestamp")
    root.signed.add_key(new.public_key, "timestamp")
    root.signed.version = 2
    root.sign(tuf._keys["root"])
    tuf.files[f"{TUF_METADATA_PATH}2.root.json"] = root.to_bytes()
    tuf._advance({})
    device.leap(5 * YEAR_S)
    assert device.ask(), "a key that is new"
    device.leap(5 * YEAR_S)
    tuf._keys["timestamp"] = old
    assert device.ask() == "", "one that was revoked"
    assert device.off_s > 4 * YEAR_S


def _recorded(fleet: SimulatedFleet) -> Callable[[bytes], bytes]:
    answers: list[bytes] = []

    def answer(question: bytes) -> bytes:
        answers.append(fleet.tuf.state_time(fleet.name, question, now_s=time.time()))
        return answers[0]

    return answer


def test_an_answer_that_was_recorded_proves_nothing(device: _Device, fleet: SimulatedFleet) -> None:
    fleet.http.state_time = _recorded(fleet)
    device.leap(5 * YEAR_S)
    assert device.ask()
    device.leap(5 * YEAR_S)
    assert device.ask() == ""
    assert device.off_s > 4 * YEAR_S
    told = device.sync.reported()
    assert told is not UNSET
    assert told.detail is not None
    assert "answers another question" in told.detail


@pytest.mark.parametrize("kind", ["late", "long", "another key", "nonsense", "none"])
def test_an_answer_that_does_not_count_changes_nothing(device: _Device, fleet: SimulatedFleet, kind: str) -> None:
    good = fleet.http.state_time
    assert good is not None

    def bad(question: bytes) -> bytes:
        match kind:
            case "late":
                device.clock.later_s += VALID_S + 1
                return good(question)
            case "long":
                return good(question) + b" " * 5000
            case "another key":
                fleet.tuf._keys["timestamp"] = CryptoSigner.generate_ed25519()
                return good(question)
            case _:
                return b"{}"

    fleet.http.state_time = None if kind == "none" else bad
    device.leap(5 * YEAR_S)
    assert device.ask() == ""
    assert device.off_s > 4 * YEAR_S
    told = device.sync.reported()
    assert told is not UNSET
    assert told.detail
    with pytest.raises(UnreachableError):
        _sync(device)


def test_an_operators_order_is_answered_in_words(device: _Device) -> None:
    assert "the system clock agrees with the fleet's" in _sync(device)
    device.clock.ahead_s = 2 * DAY_S + 60
    assert "the system clock is 2 d ahead of the fleet's" in _sync(device)


def _sync(device: _Device) -> str:
    """Have the device obey an order while its loop goes on."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(0.01):
            if not device.sync._asking:
                device.clock.later_s += 60
            device.sync.look()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        return device.sync.sync(ORDER)
    finally:
        ended.set()
        thread.join()


def test_a_damaged_time_on_disk_is_begun_anew(device: _Device) -> None:
    device.folder.path("time.json").write_text('{"trusted":"2031-02-31T00:00:00Z","v":1}')
    device.start()
    assert abs(device.off_s) < 60
