"""What can be wrong on a command line: exit status 1 or 2, one clear line on stderr, nothing half-written."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys

import pytest
import urllib3

from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.damaged import good_bundle
from tests.e2e.fleets import Fleet
from tests.e2e.processes import Place, Programs, refuses, run_edgemm

pytestmark = [pytest.mark.core, pytest.mark.slow]

HOPELESS = {
    "inspect missing.edgemm": "missing.edgemm",
    "verify missing.edgemm": "missing.edgemm",
    "bench missing.edgemm": "missing.edgemm",
    "run missing.edgemm --port 0": "missing.edgemm",
    "predict missing.edgemm '[[1,2,3,4]]'": "missing.edgemm",
    "inspect": "BUNDLE",
    "run": "BUNDLE",
    "run tiny-1.0.0.edgemm --port 99999": "99999",
    "run tiny-1.0.0.edgemm tiny-1.0.0.edgemm --port 0": "twice",
    "run tiny-1.0.0.edgemm --port 0 --variant tflite:float16": "tflite:float16",
    "run tiny-1.0.0.edgemm --fleet https://x": "leave them out",
    "run --fleet http://192.0.2.1 --port 0": "https",
    "run --fleet ftp://x --port 0": "https://",
    "run --fleet http://127.0.0.1:1 --port 0": "--token",
    "run --fleet http://127.0.0.1:1 --port 0 --token nonsense": "emt1_",
    "predict tiny-1.0.0.edgemm '[[1,2,3]]'": "[-1, 4]",
    "predict tiny-1.0.0.edgemm '[[1,2,3'": "JSON",
    "predict tiny-1.0.0.edgemm '[[1,2,3,\"a\"]]'": "float32",
    "predict tiny-1.0.0.edgemm '{\"y\": [[1,2,3,4]]}'": "x",
    "predict tiny-1.0.0.edgemm missing.npy": "missing.npy",
    "predict tiny-1.0.0.edgemm '[[1,2,3,4]]' --variant tflite:float16": "tflite:float16",
    "extract tiny-1.0.0.edgemm --variant nope -o x": "nope",
    "extract tiny-1.0.0.edgemm --variant tflite:float32": "--output",
    "nonsense": "nonsense",
    "fleet nonsense": "nonsense",
    "fleet serve nowhere": "fleet init",
    "fleet serve .": "fleet init",
    "fleet init .": "empty",
    "fleet init f --public-url http://192.0.2.1": "https",
    "fleet init f --name 'two words'": "two words",
    "fleet login https://localhost:1 --token nonsense": "emp1_",
    "fleet login https://localhost:1": "token",
    "fleet devices": "login",
    "fleet publish tiny-1.0.0.edgemm": "login",
    "fleet rollout list": "login",
    "fleet rollout create tiny": "VERSION",
    "fleet rollout create tiny 1.0.0 --group 0": "0",
    "fleet rollout create tiny 1.0.0 --group 200%": "200%",
    "fleet rollout create tiny 1.0.0 --probation soon": "soon",
    "fleet token create --ttl soon": "soon",
    "fleet token create --uses 0": "0",
    "fleet token create --label kitchen": "kitchen",
}
FAILED = {
    "run --fleet http://127.0.0.1:1 --port 0 --token TOKEN": "127.0.0.1:1",
    "extract tiny-1.0.0.edgemm --variant tflite:float32 -o nowhere/x": "nowhere",
}
TOKEN = "emt1_j4FkUyAJ2lydTaOgq3odJx_eIdNbNkRQU0CNykEzndxEpStujF4TEm7BZqVjfXGYqu-aUQ"


@pytest.fixture
def here(place: Place) -> Place:
    """A folder with one good bundle."""
    good_bundle(place.folder)
    return place


@pytest.mark.parametrize("command", HOPELESS)
def test_what_can_never_work_ends_with_status_2(here: Place, command: str) -> None:
    done = run_edgemm(*shlex.split(command), at=here)
    refuses(done, 2, HOPELESS[command])
    assert {p.name for p in here.folder.iterdir()} == {"home", "tiny-1.0.0.edgemm"}


@pytest.mark.parametrize("command", FAILED)
def test_what_failed_ends_with_status_1(here: Place, command: str) -> None:
    done = run_edgemm(*shlex.split(command.replace("TOKEN", TOKEN)), at=here)
    refuses(done, 1, FAILED[command])


def test_run_says_which_port_is_taken(here: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refuses(run_edgemm("run", "tiny-1.0.0.edgemm", "--port", str(port), at=here, timeout_s=60), 1, str(port))


@pytest.mark.parametrize("which", ["listen", "broker"])
def test_serve_says_which_port_is_taken(place: Place, which: str) -> None:
    assert run_edgemm("fleet", "init", "f", "--public-url", "http://127.0.0.1:1", at=place).status == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"listen": free_port(), "broker": free_port(), which: port}
        listen, broker = f"127.0.0.1:{ports['listen']}", f"embedded:{ports['broker']}"
        done = run_edgemm(
            "fleet", "serve", "f", "--listen", listen, "--broker", broker, at=place, timeout_s=60,
        )  # fmt: skip
    refuses(done, 1, str(port))


def test_ctrl_c_ends_run(here: Place, programs: Programs) -> None:
    program = programs.start("run", "run", "tiny-1.0.0.edgemm", "--port", "0")
    address = program.wait_for(r"(http://[\d.:]+)")
    with urllib3.PoolManager(retries=False) as http:
        eventually(lambda: http.request("GET", f"{address}/v2/health/ready").status == 200, "it is ready")
    done = program.interrupt()
    assert done.status == 130, done
    assert "Traceback" not in done.out + done.err, done


def test_ctrl_c_ends_a_manager_that_has_devices(fleet: Fleet) -> None:
    [device] = fleet.join("one")
    done = fleet.server.interrupt()
    assert done.status == 130, done
    assert done.errors in ([], ["interrupted"]), done
    assert device.program.interrupt().status == 130
    fleet.serve()
    assert len(fleet.json("devices")) == 1


def test_sigterm_ends_a_manager_with_status_0_and_nothing_to_say(fleet: Fleet) -> None:
    fleet.join("one")
    done = fleet.server.terminate()
    assert done.status == 0, done
    assert done.err == ""


def test_a_reader_that_goes_away_is_no_error(here: Place) -> None:
    command = f"{shlex.quote(sys.executable)} -m edgemm inspect tiny-1.0.0.edgemm --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=here.folder, env=here.environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.tensorflow
def test_ctrl_c_ends_convert_and_leaves_nothing(place: Place, programs: Programs) -> None:
    source = place.folder / "digits.keras"
    script = (
        "import keras, sys; m = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),"
        " keras.layers.Dense(10)]); m.save(sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(source)], check=True, env=place.environment(), capture_output=True
    )
    program = programs.start("convert", "convert", source)
    program.wait_for("(?i)(load|convert|digits)")
    done = program.interrupt()
    assert done.status == 130, done
    assert "Traceback" not in done.err, done
    assert [p.name for p in place.folder.iterdir() if p.suffix == ".edgemm"] == []


@pytest.mark.tensorflow
@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 half a zip", b"\x89HDF\r\n\x1a\n half"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_that_is_no_model_yields_no_bundle(place: Place, content: bytes, suffix: str) -> None:
    (place.folder / f"m.{suffix}").write_bytes(content)
    done = run_edgemm("convert", f"m.{suffix}", at=place)
    assert done.status in {1, 2}, done
    refuses(done, done.status, f"m.{suffix}")
    assert [p.name for p in place.folder.iterdir() if p.suffix == ".edgemm"] == []
