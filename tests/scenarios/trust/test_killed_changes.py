"""A change of keys, and a switch of the certificate, end by SIGKILL before and after every call to the disk."""

from __future__ import annotations

import math
import os
import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from edgemm.trust.signing import load_key
from edgemm_fleet.server.leftover_keys import discard, leftovers
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


class _Countdown(KillSeam):
    """Kills at the point of a number, for points whose names are of keys that are made anew in each run."""

    left = math.inf

    def _pass(self, point: str) -> None:
        super()._pass(point)
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _in_child(
    folder: Path, act: Callable[[], object], *, record: Path | None = None, kill: str = "", at: float = math.inf
) -> int:
    """Act in a process of its own; return its exit status, 9 where it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            seam = _Countdown(folder, ports=(), record=record, kill=kill)
            seam.left = at
            seam.install()
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


def _unnamed(folder: FleetFolder) -> list[str]:
    """Return the files with a private key that are neither in their places nor named as left over."""
    root = VersionRepository(folder).root.signed
    named = {one.path for one in leftovers(folder, root)}
    trusted = {key_id for role in ("root", "targets") for key_id in root.roles[role].keyids}
    found = []
    for path in folder.root.rglob("*"):
        if not path.is_file() or path in named or b"PRIVATE KEY" not in path.read_bytes():
            continue
        own = path.parent.name == "keys" and path.stem in {"snapshot", "timestamp", "director"}
        kept = path.parent.name == "offline-keys" and load_key(path).public_key.keyid in trusted
        pair = path.parent.name == "tls" and (
            path.name == "key.pem" or path.with_name(path.name.replace("-key", "")).exists()
        )
        if not (own or kept or pair or (path.parent.name == "tls" and (path.parent / "switch").exists())):
            found.append(str(path.relative_to(folder.root)))
    return found


def _open_to_others(folder: FleetFolder) -> list[str]:
    """Return the private keys that others than their owner may read."""
    keys = [path for path in folder.root.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    places = {path.parent for path in keys if path.parent.name != "tls"}
    return [str(path) for path in [*keys, *places] if path.stat().st_mode & 0o077]


def _rotate_all(run: Path) -> None:
    repository = VersionRepository(FleetFolder(run))
    repository.catch_up(now=NOW)
    made = sign_here(repository, propose(repository, dict.fromkeys(ROLES, Replacement()), now=NOW), keys=())
    repository.apply(made, now=NOW)


def test_no_private_key_is_left_that_nobody_names(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    found_repository(base)
    shutil.copytree(base, run)
    points = _points(run, lambda: _rotate_all(run), tmp_path / "points")
    assert any("keys/next" in point for point in points)
    folder = FleetFolder(run)
    for number, point in enumerate(points):
        if " tuf/" in point:  # no private key comes or goes between two of these
            continue
        shutil.rmtree(run)
        shutil.copytree(base, run)
        assert _in_child(run, lambda: _rotate_all(run), at=number) == 9, point
        assert _unnamed(folder) == [], point
        assert _open_to_others(folder) == [], point
        _rotate_all(run)
        assert _unnamed(folder) == [], point
        for path in [*run.glob("keys/*.previous.pem"), *run.rglob(".edgemm-tmp-*")]:
            os.utime(path, (0, 0))
        root = VersionRepository(folder).root.signed
        discard(folder, root, [])
        assert leftovers(folder, root) == [], point
        VersionRepository(folder).resume(now=NOW)


def test_a_discard_that_is_killed_is_done_again(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    repository = found_repository(base)
    propose(repository, dict.fromkeys(ROLES, Replacement()), now=NOW)
    root = repository.root.signed
    assert len(leftovers(repository.folder, root)) == 5
    shutil.copytree(base, run)
    folder = FleetFolder(run)
    for point in _points(run, lambda: discard(folder, root, []), tmp_path / "points"):
        shutil.rmtree(run)
        shutil.copytree(base, run)
        assert _in_child(run, lambda: discard(folder, root, []), kill=point) == 9, point
        assert _unnamed(folder) == [], point
        discard(folder, root, [])
        assert leftovers(folder, root) == [], point


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
