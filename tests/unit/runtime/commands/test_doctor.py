"""`edgemm doctor` tells what is here by really running it, also where hardly anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm.cli import run
from edgemm_fleet.trust.certificate import LIFETIME, create_certificate
from edgemm_runtime.bench.board_facts import read_board
from edgemm_runtime.commands.extras import examine
from edgemm_runtime.engines import probe
from edgemm_runtime.service.installation import places
from edgemm_runtime.service.unit import Scope
from simulators.models import Dense, model_file


def test_it_runs_each_engine(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(e["engine"], e["problem"]) for e in found["engines"]] == [("tflite", None), ("onnx", None)]
    assert {"runtime", "onnx", "converter", "fleet"} <= {e["name"] for e in found["extras"]}


def test_people_see_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capfd.readouterr().out
    assert "ai-edge-litert" in out
    assert "yes" in out


def test_an_engine_that_crashes_is_named_with_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(["doctor"]) == 1
    said = capfd.readouterr()
    assert "does not run here: killed by SIGILL" in said.err
    assert "onnxruntime" in said.err


@pytest.mark.parametrize(
    ("days", "status", "state"),
    [(90, 0, None), (10, 0, "ends soon: renew it"), (-2, 1, "has ended: clients refuse it")],
)
def test_a_certificate_that_ends_soon_is_told(
    days: int, status: int, state: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC) + timedelta(days=days) - LIFETIME
    create_certificate(tmp_path / "cert.pem", tmp_path / "key.pem", names=(), now=now)
    assert run(["doctor", "--json", "--tls-cert", str(tmp_path / "cert.pem")]) == status
    (found,) = json.loads(capfd.readouterr().out)["certificates"]
    assert found["file"] == str(tmp_path / "cert.pem")
    assert abs(found["days"] - days) < 0.2
    assert found["problem"] == state or found["problem"].startswith(state)


def test_the_certificate_of_an_installed_service_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    unit = places(Scope.USER).unit
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/opt/edgemm/bin/edgemm run --tls-cert /gone/cert.pem\n")
    assert run(["doctor"]) == 0
    assert "/gone/cert.pem" in (said := " ".join(capfd.readouterr().out.split()))
    assert "No such file or directory" in said


def test_it_works_in_the_plain_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('numpy', 'flask', 'onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'psutil'):\n"
        "    sys.modules[name] = None\n"
        "import importlib.metadata as m\nreal = m.version\n"
        "def version(name):\n"
        "    if name in ('ai-edge-litert', 'tflite-runtime', 'onnxruntime', 'numpy'):\n"
        "        raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgemm", "doctor", "--json"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert [e["problem"] for e in found["engines"]] == [
        "not installed: pip install 'edgemm[runtime]'",
        "not installed: pip install 'edgemm[onnx]'",
    ]
    assert "numpy" in next(e for e in found["extras"] if e["name"] == "onnx")["problems"]


def test_extras_are_read_from_requirements() -> None:
    extras = examine(
        [
            "click>=8.2",
            'no-such-thing-here>=1; extra == "one"',
            'click>=8; extra == "one"',
            "click>=99.1; extra == 'two'",
            'edgemm[one]; extra == "all"',
        ]
    )
    assert [e.name for e in extras] == ["one", "two"]
    assert extras[0].problems == ("no-such-thing-here",)
    assert extras[0].advice == "pip install 'edgemm[one]'  (missing: no-such-thing-here)"
    assert extras[1].problems[0].startswith("click>=99.1 (found ")


def test_a_raspberry_pi_tells_what_is_wrong_with_it(tmp_path: Path) -> None:
    for name, text in {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/meminfo": "MemTotal:        8245440 kB\nMemFree: 1 kB\n",
        "sys/class/thermal/thermal_zone0/temp": "61250\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    board = read_board(tmp_path)
    assert board.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert (board.temperature_c, board.memory_bytes) == (61.2, 8245440 * 1024)
    assert board.throttled == ("undervoltage", "throttled")
    assert "check power supply and cooling" in " ".join(board.lines())


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert (board.model, board.temperature_c, board.throttled, board.memory_bytes) == (None, None, None, None)
    assert len(list(board.lines())) == 1


@pytest.mark.parametrize("engine", list(Engine))
def test_the_probe_models_are_what_the_simulators_write(engine: Engine) -> None:
    kernel = np.zeros((4, 3), np.float32)
    kernel[0, 0] = kernel[1, 1] = kernel[2, 2] = -2
    dense = Dense(kernel, np.zeros(3, np.float32))
    assert np.array_equal(dense.predict(probe.X), probe.EXPECTED)
    file = Path(probe.__file__).with_name(f"probe.{engine}")
    assert file.read_bytes() == model_file(dense, f"{engine}:float32", batch=1)


def test_a_folder_that_was_removed_meanwhile_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_board().disk_free_bytes
