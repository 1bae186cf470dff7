"""Commands that announce certificates and addresses end by SIGKILL at every call to the disk, and are run again."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.cli import run
from edgemm.trust.addresses import BrokerAddress
from edgemm_fleet.server.leftover_keys import leftovers
from edgemm_fleet.trust import announcement, next_certificate
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.scenarios.trust.test_killed_changes import _in_child, _looks, _points
from tests.unit.fleet.trust.repositories import NOW

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
NEW = "https://new.example:8443"


def _command(folder: Path, *arguments: str) -> None:
    status = run(["fleet", *arguments, "--folder", str(folder)])
    assert status == 0, (arguments, status)


def _found(base: Path) -> FleetFolder:
    assert run(["fleet", "init", str(base), "--public-url", "https://old.example:8443"]) == 0
    folder = FleetFolder(base)
    note = BrokerAddress(host="old.example", port=8883, ca=folder.certificate.read_text())
    folder.broker_note.write_bytes(canonical.encode(note))
    return folder


STORIES = {
    "renew": ((), ("cert", "renew")),
    "switch": ((("cert", "renew"),), ("cert", "switch", "--anyway")),
    "back": ((("cert", "renew"), ("cert", "switch", "--anyway")), ("cert", "switch", "--back")),
    "revoke": ((("cert", "renew"), ("cert", "switch", "--anyway")), ("cert", "revoke")),
    "announce": ((), ("addresses", "announce", "--url", NEW)),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_command_that_is_killed_is_run_again(tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    base, at, state = tmp_path / "base", tmp_path / "run", tmp_path / "state"
    before, command = STORIES[story]
    _looks(_found(base), state)
    for one in before:
        _command(base, *one)
    shutil.copytree(base, at)
    points = _points(at, lambda: _command(at, *command), tmp_path / "points")
    wanted = _outcome(FleetFolder(at), state, tmp_path / "follower")
    folder = FleetFolder(at)
    for number, point in enumerate(points):
        if " tuf/" in point or "fleet.db" in point:  # of these another test kills at each
            continue
        shutil.rmtree(at)
        shutil.copytree(base, at)
        assert _in_child(at, lambda: _command(at, *command), at=number) == 9, point
        shutil.copytree(at, tmp_path / "served")
        _start(FleetFolder(tmp_path / "served"))
        shutil.rmtree(tmp_path / "served")
        _again(folder, story, command)
        assert _outcome(folder, state, tmp_path / "follower") == wanted, point


def _again(folder: FleetFolder, story: str, command: tuple[str, ...]) -> None:
    next_certificate.finish_switch(folder)
    VersionRepository(folder).catch_up(now=NOW)
    status = run(["fleet", *command, "--folder", str(folder.root)])
    # What was done to its end is refused the second time, or goes back once more.
    if story in {"switch", "revoke"}:
        assert status in {0, 1}
    else:
        assert status == 0
    for path in folder.root.rglob(".edgemm-tmp-*"):
        os.utime(path, (0, 0))
    if leftovers(folder, VersionRepository(folder).root.signed):
        assert run(["fleet", "keys", "discard", "--all", "--folder", str(folder.root)]) == 0


def _start(folder: FleetFolder) -> None:
    """Do what a manager does to these files when it starts."""
    next_certificate.finish_switch(folder)
    VersionRepository(folder).resume(now=NOW)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder.certificate, folder.certificate_key)


def _outcome(folder: FleetFolder, state: Path, follower: Path) -> tuple[object, ...]:
    """Return what a folder has come to, but for what is made anew each time; a device follows."""
    _start(folder)
    shutil.rmtree(follower, ignore_errors=True)
    shutil.copytree(state, follower, symlinks=True)
    _looks(folder, follower)
    told = announcement.announced(VersionRepository(folder))
    assert told is not None
    own = fingerprint(folder.certificate)
    private = sorted(str(p.relative_to(folder.root)) for p in folder.root.rglob("*") if _is_private(p))
    pins = [(server.url, len(server.pins), own in server.pins) for server in told.servers]
    return pins, len(told.revoked), own in told.revoked, private, folder.read_config().public_url


def _is_private(path: Path) -> bool:
    return path.is_file() and b"PRIVATE KEY" in path.read_bytes()
