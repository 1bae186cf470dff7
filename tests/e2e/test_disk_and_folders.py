"""Folders that are in use, are no fleet, or are full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.disks import small_disk
from tests.e2e.fleets import Device, Fleet
from tests.e2e.processes import Place, refuses, run_edgemm

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


def test_a_folder_is_served_once(fleet: Fleet) -> None:
    done = fleet.run(
        "serve", fleet.folder, "--broker", f"embedded:{free_port()}", "--listen", f"127.0.0.1:{free_port()}"
    )
    refuses(done, 1, str(fleet.folder), "another")
    assert fleet.json("devices") == []


def test_init_does_not_touch_a_fleet_that_exists(fleet: Fleet) -> None:
    before = {p: p.read_bytes() for p in sorted((fleet.folder / "keys").iterdir())}
    refuses(fleet.run("init", fleet.folder), 2, str(fleet.folder))
    assert {p: p.read_bytes() for p in sorted((fleet.folder / "keys").iterdir())} == before


@pytest.mark.parametrize("content", ["", "{", '{"v": 99}', "[]"])
def test_a_folder_with_a_broken_fleet_file_is_refused(place: Place, content: str) -> None:
    (place.folder / "f").mkdir()
    (place.folder / "f" / "fleet.json").write_text(content)
    done = run_edgemm("fleet", "serve", "f", at=place, timeout_s=60)
    assert done.status in {1, 2}, done
    refuses(done, done.status, "fleet.json")


def test_a_lost_key_file_is_named(place: Place) -> None:
    assert run_edgemm("fleet", "init", "f", "--public-url", "http://127.0.0.1:1", at=place).status == 0
    (place.folder / "f" / "keys" / "director.pem").unlink()
    done = run_edgemm(
        "fleet",
        "serve",
        "f",
        "--broker",
        f"embedded:{free_port()}",
        "--listen",
        f"127.0.0.1:{free_port()}",
        at=place,
        timeout_s=60,
    )
    assert done.status in {1, 2}, done
    refuses(done, done.status, "director.pem")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 MiB."""
    with small_disk(tmp_path / "disk", size_bytes=128 * 2**20) as folder:
        yield folder


def test_a_full_disk_stops_an_update_and_nothing_else(disk: Path, fleet: Fleet) -> None:
    device = Device(fleet, "small", disk / "state").start(token=fleet.token())
    for version in ("1.0.0", "2.0.0"):
        fleet.publish(version)
    eventually(device.online, "it is online")
    fleet.rollout("1.0.0")
    ballast = disk / "ballast"
    _fill(ballast)
    # Out of space may be tolerated by a rollout: what counts is what the device says and does.
    fleet.run("rollout", "create", "tiny", "2.0.0", "--probation", "0s", "--start")
    eventually(lambda: _answers(device) and _told_no_space(device), "it tells that there is no space", timeout_s=60)
    assert device.version() == "1.0.0"
    device.kill()
    device.start().wait_until_ready()
    assert device.version() == "1.0.0"
    ballast.unlink()
    done = fleet.run("rollout", "cancel", fleet.last_rollout()["id"])
    assert done.status in {0, 1}
    fleet.rollout("2.0.0")
    assert device.version() == "2.0.0"


def _answers(device: Device) -> bool:
    return device.predict()[0] == 200


def _told_no_space(device: Device) -> bool:
    return device.state_of("2.0.0") == ("rejected", "no_space")


def _fill(path: Path) -> None:
    """Fill what is left of a file system."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass  # full
