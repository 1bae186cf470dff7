from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgemm import durable
from edgemm.errors import EnvironmentFailure, InputError, PermissionDeniedError, TrustError, UnreachableError
from edgemm_runtime.agent.connection.enrolment import device_key, identify
from edgemm_runtime.agent.state.agent_options import AgentOptions
from edgemm_runtime.agent.state.documents import IdentityFile
from edgemm_runtime.agent.state.state_folder import StateFolder
from simulators.fleet import SimulatedFleet


@pytest.fixture
def fleet() -> Iterator[SimulatedFleet]:
    with SimulatedFleet(broker=False) as fleet:
        yield fleet


def _start(path: Path, url: str, token: str | None = None, **options: Any) -> IdentityFile:
    folder = StateFolder(path)
    try:
        return identify(folder, AgentOptions(fleet_url=url, state_dir=path, token=token, name="pi", **options))
    finally:
        folder.close()


def test_enrols_once_and_needs_no_token_later(fleet: SimulatedFleet, tmp_path: Path) -> None:
    token = fleet.token()
    identity = _start(tmp_path, fleet.url, token, labels={"room": "kitchen"})
    assert identity.device == fleet.only_device()
    fleet.http.stop()
    assert _start(tmp_path, fleet.url) == identity
    assert _start(tmp_path, fleet.url, token) == identity, "the token in a service file does not enrol again"


def test_secrets_are_the_owners_alone(fleet: SimulatedFleet, tmp_path: Path) -> None:
    _start(tmp_path, fleet.url, fleet.token())
    for name in ("identity.json", "device.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_crash_before_the_answer_was_kept_strands_nobody(
    fleet: SimulatedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, write = fleet.token(), durable.write

    def lose_power(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if path.name == "identity.json":
            raise KeyboardInterrupt
        write(path, data, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", lose_power)
        with pytest.raises(KeyboardInterrupt):
            _start(tmp_path, fleet.url, token)
    (device,) = fleet.devices
    assert _start(tmp_path, fleet.url, token).device == device
    assert list(fleet.devices) == [device]


def test_no_token_at_the_first_start(fleet: SimulatedFleet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not enrolled yet: expected --token emt1_…; `edgemm fleet token create`"):
        _start(tmp_path, fleet.url)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_not_a_token(fleet: SimulatedFleet, tmp_path: Path, cut: int) -> None:
    with pytest.raises(InputError, match="token: expected the text emt1_"):
        _start(tmp_path, fleet.url, fleet.token()[:cut])
    assert not (tmp_path / "identity.json").exists()


def test_a_token_that_the_server_does_not_know(fleet: SimulatedFleet, tmp_path: Path) -> None:
    with SimulatedFleet(broker=False) as other:
        token = other.token()
    with pytest.raises(PermissionDeniedError, match="unknown, expired or used up"):
        _start(tmp_path, fleet.url, token)


def test_a_token_that_another_device_used(fleet: SimulatedFleet, tmp_path: Path) -> None:
    token = fleet.token()
    _start(tmp_path / "one", fleet.url, token)
    with pytest.raises(PermissionDeniedError, match="used up"):
        _start(tmp_path / "two", fleet.url, token)


def test_a_server_with_another_root(fleet: SimulatedFleet, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="the token pins the TUF root sha256 000000000000…, found"):
        _start(tmp_path, fleet.url, fleet.token(root_digest="0" * 64))
    assert not (tmp_path / "identity.json").exists()


def test_a_server_that_is_away(fleet: SimulatedFleet, tmp_path: Path) -> None:
    token = fleet.token()
    fleet.http.stop()
    with pytest.raises(UnreachableError, match="cannot reach"):
        _start(tmp_path, fleet.url, token)


def test_a_second_token_enrols_again_with_the_same_key(fleet: SimulatedFleet, tmp_path: Path) -> None:
    first = _start(tmp_path, fleet.url, fleet.token())
    second = _start(tmp_path, fleet.url, fleet.token())
    assert (second.device, second.bearer != first.bearer) == (first.device, True)


def test_a_second_token_while_the_server_is_away_changes_nothing(fleet: SimulatedFleet, tmp_path: Path) -> None:
    first, token = _start(tmp_path, fleet.url, fleet.token()), fleet.token()
    fleet.http.stop()
    assert _start(tmp_path, fleet.url, token) == first


def test_a_folder_of_another_fleet(fleet: SimulatedFleet, tmp_path: Path) -> None:
    _start(tmp_path, fleet.url, fleet.token())
    with SimulatedFleet("away", broker=False) as other, pytest.raises(InputError, match=r"another fleet \(home\)"):
        _start(tmp_path, other.url, other.token())


def test_a_token_that_pins_a_later_root_of_the_same_fleet(fleet: SimulatedFleet, tmp_path: Path) -> None:
    first = _start(tmp_path, fleet.url, fleet.token())
    for _ in range(2):
        newest = fleet.tuf.replace_root_key()
    fleet.tuf.root = newest
    second = _start(tmp_path, fleet.url, fleet.token())
    assert (second.device, second.root) == (first.device, newest.decode())


def test_a_token_that_pins_a_root_which_does_not_follow(fleet: SimulatedFleet, tmp_path: Path) -> None:
    first = _start(tmp_path, fleet.url, fleet.token())
    with SimulatedFleet(broker=False) as other:
        forged = other.tuf.replace_root_key()
        fleet.tuf.root = forged
        fleet.http.files["/tuf/metadata/2.root.json"] = forged
        with pytest.raises(InputError, match=r"another fleet \(home\)"):
            _start(tmp_path, fleet.url, fleet.token())
    assert _start(tmp_path, fleet.url) == first


def test_the_fleet_manager_may_move(fleet: SimulatedFleet, tmp_path: Path) -> None:
    identity = _start(tmp_path, fleet.url, fleet.token())
    moved = _start(tmp_path, "http://localhost:1")
    assert (moved.url, moved.device) == ("http://localhost:1", identity.device)


def test_a_damaged_identity_is_told(fleet: SimulatedFleet, tmp_path: Path) -> None:
    _start(tmp_path, fleet.url, fleet.token())
    (tmp_path / "identity.json").write_bytes(b"{")
    with pytest.raises(InputError, match="damaged; remove it and enrol again"):
        _start(tmp_path, fleet.url)


def test_labels_that_are_too_long(fleet: SimulatedFleet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot enrol with these labels"):
        _start(tmp_path, fleet.url, fleet.token(), labels={"room": "x" * 1000})


def test_a_full_disk(fleet: SimulatedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        raise EnvironmentFailure(f"cannot write {path}: No space left on device; nothing was changed")

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(EnvironmentFailure, match="No space left on device"):
        _start(tmp_path, fleet.url, fleet.token())
    assert not fleet.devices, "the key is durable before it is sent"


@pytest.mark.parametrize("data", [b"", b"-----BEGIN PRIVATE KEY-----"], ids=["empty", "cut"])
def test_a_damaged_key_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    folder = StateFolder(tmp_path)
    folder.path("device.key").write_bytes(data)
    with pytest.raises(
        InputError, match=r"device\.key: expected .*; remove it, and enrol again with a new token"
    ) as told:
        device_key(folder)
    assert "http" not in str(told.value)
