"""A change of keys, and a switch of the certificate, end by SIGKILL before and after every call to the disk."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from edgemm_fleet.trust import next_certificate
from edgemm_fleet.trust import proposal as proposals
from edgemm_fleet.trust.ceremony import Replacement, propose, sign_here
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.rotation import ROLES
from edgemm_fleet.trust.version_repository import VersionRepository
from simulators.kill_seam import KillSeam
from tests.unit.fleet.trust.repositories import NOW, device
from tests.unit.fleet.trust.test_ceremony import found_repository

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


def _in_child(folder: Path, act: Callable[[], object], *, record: Path | None = None, kill: str = "") -> int:
    """Act in a process of its own; return its exit status, 9 where it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            KillSeam(folder, ports=(), record=record, kill=kill).install()
            act()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _points(folder: Path, act: Callable[[], object], record: Path) -> list[str]:
    assert _in_child(folder, act, record=record) == 0
    return record.read_text().splitlines()


def _looks(folder: FleetFolder, state: Path) -> None:
    client = device(folder, state)
    target = client.get_targetinfo("director.json")
    assert target is not None
    client.download_target(target, str(state / "target"))


def test_a_change_of_all_keys_is_made_or_not_and_a_device_follows_at_every_moment(tmp_path: Path) -> None:
    base, run, state = tmp_path / "base", tmp_path / "run", tmp_path / "state"
    repository = found_repository(base)
    _looks(repository.folder, state)
    made = sign_here(repository, propose(repository, dict.fromkeys(ROLES, Replacement()), now=NOW), keys=())
    assert proposals.missing(made) == []

    def act() -> None:
        VersionRepository(FleetFolder(run)).apply(made, now=NOW)

    shutil.copytree(base, run)
    points = _points(run, act, tmp_path / "points")
    assert len(points) > 60
    for point in points:
        shutil.rmtree(run)
        shutil.copytree(base, run)
        follower = tmp_path / "follower"
        shutil.rmtree(follower, ignore_errors=True)
        shutil.copytree(state, follower, symlinks=True)
        assert _in_child(run, act, kill=point) == 9, point
        begun = (run / "trust-change.json").exists()
        _looks(FleetFolder(run), follower)
        again = VersionRepository(FleetFolder(run))
        again.catch_up(now=NOW)
        assert not begun or again.root.signed.version == 2, point
        again.resume(now=NOW)
        _looks(FleetFolder(run), follower)


def test_a_switch_of_the_certificate_leaves_a_pair(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    folder = FleetFolder(base)
    folder.certificate.parent.mkdir(parents=True)
    create_certificate(folder.certificate, folder.certificate_key, names=["a"], now=NOW)
    prepared = fingerprint(next_certificate.prepare(folder, names=["a"], now=NOW))
    shutil.copytree(base, run)
    made = FleetFolder(run)
    for point in _points(run, lambda: next_certificate.switch(made), tmp_path / "points"):
        shutil.rmtree(run)
        shutil.copytree(base, run)
        assert _in_child(run, lambda: next_certificate.switch(made), kill=point) == 9, point
        next_certificate.finish_switch(made)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.certificate, made.certificate_key)
        if fingerprint(made.certificate) != prepared:
            next_certificate.switch(made)
        assert fingerprint(made.certificate) == prepared, point
