"""A device whose whole system is read-only but for one state folder: no temporary folder, no bytecode, no home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import urllib3

from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
EDGEMM = Path(sys.executable).with_name("edgemm")
READ_ONLY = """
set -e
mount --bind "$STATE" "$STATE"
for place in / /dev/shm; do mount -o remount,bind,ro "$place"; done
for place in / /tmp /var/tmp /dev/shm "$STATE/.."; do
    if touch "$place/edgemm-probe" 2>/dev/null; then echo "$place can be written"; exit 3; fi
done
cd /
exec "$@"
"""


def _closed(state: Path, *command: str | Path) -> tuple[list[str], dict[str, str]]:
    """Return a command, and its environment, that sees everything but `state` as read-only."""
    whole = ["unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh", *map(str, command)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EDGEMM_", "XDG_", "PYTHONDONTWRITE", "TMP"))}
    return whole, kept | {"HOME": "/nonexistent", "STATE": str(state)}


@pytest.fixture(autouse=True)
def _root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a system read-only needs root")
    command, environment = _closed(tmp_path, "true")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a mount namespace of its own is not allowed here: {done.stderr[:100]}{done.stdout[:100]}")


@contextmanager
def running(state: Path, log: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `edgemm run` in such a system; it ends with the block, in order."""
    command, environment = _closed(state, EDGEMM, "run", *arguments)
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def _answer(port: int) -> str:
    """Return the version that answers; empty where none does yet."""
    try:
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            body = {"inputs": [[0.1, 0.2, 0.3, 0.4]]}
            found = pool.request("POST", f"http://127.0.0.1:{port}/predict/tiny", json=body)
            return str(found.json().get("version", "")) if found.status == 200 else ""
    except urllib3.exceptions.HTTPError:
        return ""


def _answers(port: int, version: str) -> bool:
    return _answer(port) == version


def _is_committed(fleet: SimulatedFleet, device: str, version: str) -> bool:
    return fleet.state(device, "tiny", version) == "committed"


def test_a_device_enrols_installs_serves_and_is_updated(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    with SimulatedFleet() as fleet:
        for seed, version in enumerate(("1.0.0", "2.0.0")):
            make_bundle(tmp_path / version, version=version, seed=seed)
            fleet.publish(tmp_path / version)
        arguments = ["--fleet", fleet.url, "--state-dir", str(state), "--port", str(port)]
        with running(state, tmp_path / "first", *arguments, "--token", fleet.token()):
            eventually(lambda: fleet.devices, "it is enrolled")
            device = fleet.only_device()
            for version in ("1.0.0", "2.0.0"):
                fleet.desire(device, fleet.model("tiny", version))
                fleet.wait_for(partial(_is_committed, fleet, device, version))
                eventually(partial(_answers, port, version), f"{version} answers")
        with running(state, tmp_path / "second", *arguments):
            eventually(lambda: _answer(port) == "2.0.0", "it serves again after a start")
        assert not fleet.problems
    for log in ("first", "second"):
        said = (tmp_path / log).read_text()
        assert "Traceback" not in said
        assert "Read-only file system" not in said


def test_a_bundle_is_served_without_a_fleet(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    make_bundle(tmp_path / "tiny", variants=("tflite:float32",))
    with running(state, tmp_path / "log", tmp_path / "tiny", "--port", str(port)):
        eventually(lambda: _answer(port) == "1.0.0", "it answers")


def test_a_state_folder_on_a_disk_that_fails_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    state.mkdir()
    make_bundle(tmp_path / "tiny", variants=("tflite:float32",))
    given = [str(tmp_path / "tiny"), "--port", str(port), "--state-dir", str(tmp_path / "read-only")]
    with running(state, tmp_path / "log", *given):
        eventually(lambda: _answer(port) == "1.0.0", "it answers")
    assert "a restart forgets what was predicted" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("words", ["predict tiny x.json", "doctor", "bench tiny --runs 3"])
def test_a_command_needs_no_folder_to_write(tmp_path: Path, words: str) -> None:
    make_bundle(tmp_path / "tiny", variants=("tflite:float32",))
    (tmp_path / "x.json").write_text('{"inputs": [[0.1, 0.2, 0.3, 0.4]]}')
    (tmp_path / "state").mkdir()
    given = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in words.split()]
    command, environment = _closed(tmp_path / "state", EDGEMM, *given)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done
