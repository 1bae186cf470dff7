"""Real `edgemm run` processes under a stand-in for systemd: what it hears, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.service_manager import ServiceManager
from simulators.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path, abstract=True) as manager:
        yield manager


@contextmanager
def edgemm(manager: ServiceManager, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command as a service with a watchdog of two seconds."""
    command = [sys.executable, "-m", "edgemm", *arguments, "--port", "0", "--quiet"]
    process = subprocess.Popen(command, env=os.environ | manager.environment(watchdog_s=2))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_served_bundle_is_ready_fed_and_says_that_it_stops(manager: ServiceManager, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny.edgemm")
    with edgemm(manager, "run", str(tmp_path / "tiny.edgemm")) as process:
        manager.wait_for("WATCHDOG=1", times=3)
        assert manager.heard[:3] == ["READY=1", "WATCHDOG=1", "STATUS=serving tiny 1.0.0"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert manager.count("STOPPING=1") == 1


def test_a_bundle_that_is_loaded_later_feeds_it_and_so_does_one_that_is_unloaded(
    manager: ServiceManager, tmp_path: Path
) -> None:
    path, address = tmp_path / "tiny.edgemm", f"127.0.0.1:{free_port()}"
    make_bundle(path)

    def ask(verb: str) -> int:
        return urllib3.request("POST", f"http://{address}/v2/repository/models/tiny/{verb}", timeout=120).status

    with edgemm(manager, "run", str(path), "--manage", address):
        manager.wait_for("WATCHDOG=1", times=2)
        make_bundle(path, version="2.0.0", seed=2)
        assert ask("load") == 200
        eventually(lambda: manager.status == "serving tiny 2.0.0", "it says so")
        manager.wait_for("WATCHDOG=1", times=manager.count("WATCHDOG=1") + 3)
        assert ask("unload") == 200
        eventually(lambda: manager.status == "nothing to serve: tiny unloaded", "it says so")
        manager.wait_for("WATCHDOG=1", times=manager.count("WATCHDOG=1") + 3)


def test_a_bundle_that_answers_wrongly_is_never_ready(manager: ServiceManager, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny.edgemm", scramble=True)
    with edgemm(manager, "run", str(tmp_path / "tiny.edgemm")) as process:
        assert process.wait(60) == 1
    assert manager.count("READY=1") == manager.count("WATCHDOG=1") == 0


def test_a_fleets_device_is_ready_without_a_model_and_then_serves(manager: ServiceManager, tmp_path: Path) -> None:
    make_bundle(tmp_path / "1", version="1.0.0", variants=("tflite:float32",))
    state = ["--state-dir", str(tmp_path / "state")]
    with SimulatedFleet() as fleet:
        manifest = fleet.publish(tmp_path / "1")
        token = ["--token", fleet.token()]
        with edgemm(manager, "run", "--fleet", fleet.url, *token, *state) as process:
            manager.wait_for("WATCHDOG=1", times=2)
            assert manager.count("READY=1") == 1
            assert manager.status.startswith("nothing to serve yet")
            fleet.desire(fleet.only_device(), fleet.model("tiny", manifest.version))
            eventually(lambda: manager.status == "serving tiny 1.0.0", "it says what it serves")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert manager.count("STOPPING=1") == 1
        manager.heard.clear()
        with edgemm(manager, "run", "--fleet", fleet.url, *state) as process:
            manager.wait_for("READY=1")
            assert "STATUS=serving tiny 1.0.0" in manager.heard, "what was committed answers before it is ready"
            process.send_signal(signal.SIGABRT)  # what systemd sends when the watchdog's time is over
            assert process.wait(60) == -signal.SIGABRT
