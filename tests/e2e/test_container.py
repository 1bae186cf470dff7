"""A device in a container: everything read-only but its volume, no capabilities. `scripts/test-container` runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import urllib3

from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle
from simulators.waiting import eventually

IMAGE = os.environ.get("EDGEMM_TEST_IMAGE", "")
PORT = 8080
pytestmark = [
    pytest.mark.runtime,
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGE, reason="no image: scripts/test-container builds one"),
]


class Container:
    """One container on the host's network, made from `IMAGE`."""

    name = f"edgemm-test-{os.getpid()}"

    def podman(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*os.environ.get("PODMAN", "podman").split(), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def start(self, *arguments: str, options: tuple[str, ...] = ()) -> None:
        given = os.environ.get("PODMAN_RUN", "").split()
        done = self.podman(
            "run", "--detach", "--name", self.name, "--network", "host", "--read-only", "--read-only-tmpfs=false",
            "--cap-drop", "all", "--volume", f"{self.name}:/var/lib/edgemm", "--health-interval", "disable",
            *given, *options, IMAGE, *arguments,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def again(self) -> None:
        """Stop it, which must be in order, and start it again."""
        assert self.podman("stop", "--time", "30", self.name).returncode == 0
        assert self.podman("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout.strip() == "0"
        assert self.podman("start", self.name).returncode == 0

    def healthy(self) -> bool:
        return self.podman("healthcheck", "run", self.name).returncode == 0

    def inside(self, command: str) -> str:
        done = self.podman("exec", self.name, "sh", "-c", command)
        return done.stdout + done.stderr


@pytest.fixture
def container() -> Iterator[Container]:
    container = Container()
    yield container
    print(container.podman("logs", container.name).stderr[-3000:])
    container.podman("rm", "--force", container.name)
    container.podman("volume", "rm", "--force", container.name)


def _version() -> str:
    """Return the version that answers; empty where none does yet."""
    try:
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            body = json.dumps({"inputs": [[0.1, 0.2, 0.3, 0.4]]})
            found = pool.request("POST", f"http://127.0.0.1:{PORT}/predict/tiny", body=body)
            return str(found.json().get("version", "")) if found.status == 200 else ""
    except urllib3.exceptions.HTTPError:
        return ""


def _answers(version: str) -> bool:
    return _version() == version


def _is_committed(fleet: SimulatedFleet, device: str, version: str) -> bool:
    return fleet.state(device, "tiny", version) == "committed"


def test_a_device_in_a_container_is_updated_and_comes_back(container: Container, tmp_path: Path) -> None:
    with SimulatedFleet() as fleet:
        for seed, version in enumerate(("1.0.0", "2.0.0")):
            make_bundle(tmp_path / version, version=version, seed=seed, variants=("tflite:float32",))
            fleet.publish(tmp_path / version)
        container.start("--fleet", fleet.url, options=("--env", f"EDGEMM_TOKEN={fleet.token()}"))
        eventually(lambda: fleet.devices, "it is enrolled")
        assert container.healthy(), "a device that waits for its first model is well"
        device = fleet.only_device()
        for version in ("1.0.0", "2.0.0"):
            fleet.desire(device, fleet.model("tiny", version))
            fleet.wait_for(partial(_is_committed, fleet, device, version))
            eventually(partial(_answers, version), f"{version} answers")
        container.again()
        eventually(lambda: _version() == "2.0.0", "it serves again")
        assert container.healthy()
        assert container.inside("id -u").strip() == "10001"
        assert container.inside("touch /x; touch /tmp/x").count("Read-only file system") == 2
        assert "pip" not in container.inside("ls /opt/edgemm/bin; command -v pip pip3 gcc")
        assert not fleet.problems


def test_a_container_that_listens_elsewhere_is_not_healthy(container: Container, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny", variants=("tflite:float32",))
    container.start("/tiny", "--port", "18080", options=("--volume", f"{tmp_path / 'tiny'}:/tiny:ro"))
    eventually(lambda: "served at" in container.podman("logs", container.name).stdout, "it serves the bundle")
    assert not container.healthy()
