"""docs/fleet-server.md and docs/mosquitto.md: units that systemd takes, and commands that do what is said."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm_fleet.broker import mosquitto as generated
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider, TlsFiles
from edgemm_fleet.broker.mosquitto import MosquittoFiles
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_runtime.service.unit import Scope, ServiceSettings, unit_text
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.docs.pages import DOCS, blocks, tables
from tests.e2e.processes import Place, Programs, run_edgemm

UNITS = ("edgemm-fleet.service", "edgemm-mosquitto.service")


def marked(page: str, marker: str) -> list[str]:
    return [block.text for block in blocks(DOCS / page) if block.marker == marker]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    (unit,) = marked("fleet-server.md", name)
    unit = re.sub(r"(?<=ExecStart=)\S+", sys.executable, unit)
    (tmp_path / name).write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, said) == (0, [])


def test_the_managers_unit_is_as_hard_as_a_devices() -> None:
    device = unit_text(ServiceSettings(scope=Scope.SYSTEM, program="/x", arguments=["run"], secrets=Path("/y")))
    hard = {
        line for line in device.splitlines() if re.match(r"Protect|Private|Restrict|SystemCall|NoNew|Lock|Rem", line)
    }
    assert len(hard) > 15
    (unit,) = marked("fleet-server.md", UNITS[0])
    assert hard <= set(unit.splitlines())


def test_the_units_name_options_that_there_are() -> None:
    (options,) = marked("fleet-server.md", "options")
    done = run_edgemm("fleet", "serve", "--help", at=Place(DOCS, DOCS))
    for option in re.findall(r"--[a-z-]+", options):
        assert option in done.out


def test_the_page_names_the_files_that_are_written(tmp_path: Path) -> None:
    rows = {row[0].strip("`"): row[1] for row in tables(DOCS / "mosquitto.md")["What the manager writes"]}
    assert set(rows) == set(generated._NAMES)
    assert run(["fleet", "init", str(tmp_path / "fl")]) == 0
    folder = FleetFolder(tmp_path / "fl")
    settings = BrokerSettings(
        Provider.MOSQUITTO, host="localhost", tls=True, files=TlsFiles(folder.certificate, folder.certificate_key),
        mosquitto=MosquittoFolder(tmp_path / "broker"),
    )  # fmt: skip
    MosquittoFiles(settings.with_login(), "fl").write([])
    found = {path.name: f"{path.stat().st_mode & 0o777:04o}" for path in (tmp_path / "broker").iterdir()}
    assert found == rows


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with Programs(Place.make(tmp_path)) as started:
        yield started


def test_a_backup_is_restored_as_the_page_says(programs: Programs) -> None:
    place = programs.place
    url = f"https://localhost:{free_port()}"
    assert run_edgemm("fleet", "init", "fleet", "--public-url", url, at=place).status == 0
    serve = ("fleet", "serve", "fleet", "--broker", "embedded:0")
    manager = programs.start("serve", *serve)
    manager.wait_for("(serving fleet)")
    sh(place, *marked("fleet-server.md", "backup"))
    assert manager.terminate().status in {0, 128 + signal.SIGTERM, -signal.SIGTERM}
    moved, rotated = marked("fleet-server.md", "restore")
    sh(place, moved)
    again = programs.start("serve again", *serve)
    again.wait_for("(serving fleet)")
    sh(place, rotated)
    assert {"fleet", "fleet-of-before"} <= {path.name for path in place.folder.iterdir()}


@pytest.mark.service
def test_a_fleet_comes_up_over_mosquitto_as_the_page_says(programs: Programs, mosquitto: Path) -> None:
    place = programs.place
    api, port = free_port(), free_port()
    first, broker, _ = (
        text.replace("fleet.example:8443", f"localhost:{api}").replace("fleet.example:8883", f"localhost:{port}")
        for text in marked("mosquitto.md", "run")
    )
    made, served = first.replace("\\\n", "").splitlines()
    sh(place, made)
    manager = programs.start("serve", *served.split()[1:])
    manager.wait_for("(serving fleet)")
    started = programs.start("mosquitto", *broker.split()[1:], program=mosquitto)
    eventually((place.folder / "mosquitto" / "mosquitto.pid").exists, "Mosquitto has written its process id")
    eventually(lambda: "broker_without_tls" not in manager.text and connected(port), "it listens")
    assert started.status is None


def connected(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=5).close()
    except OSError:
        return False
    return True


def sh(place: Place, *texts: str) -> None:
    """Run shell lines of a page, with this checkout's `edgemm`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for text in texts:
        done = subprocess.run(
            ["sh", "-ec", text], cwd=place.folder, env=place.environment() | {"PATH": path}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (text, done)
