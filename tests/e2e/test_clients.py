"""Clients that nobody here wrote, unmodified and each in an environment of its own, against a served model.

`tritonclient`, which needs no environment of its own, is tested in `tests/unit/runtime/serving`.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgemm_runtime.serving.server import ModelServer
from simulators.models import Dense, make_bundle
from simulators.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "clients"
ROWS = np.random.default_rng(3).uniform(-1, 1, (2, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    path = tmp_path_factory.mktemp("served") / "tiny-1.0.0.edgemm"
    make_bundle(path)
    with serving(path) as server:
        yield server


@pytest.mark.parametrize("client", ["ovmsclient", "open-inference-openapi", "pydantic-open-inference", "kserve"])
def test_an_unmodified_client_reads_the_models_answer(server: ModelServer, client: str) -> None:
    python = _environment(client)
    script = CLIENTS / f"ask_{client.replace('-', '_')}.py"
    done = subprocess.run(
        [python, "-W", "ignore", script, server.address, json.dumps(ROWS.tolist())],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), Dense.random(0).predict(ROWS), atol=1e-5)


def _environment(client: str) -> Path:
    """Return the Python of a client's environment, made of `tests/clients/CLIENT.txt` where it is not there yet."""
    wanted = (CLIENTS / f"{client}.txt").read_text()
    folder = ROOT / ".venv-clients" / client
    folder.mkdir(parents=True, exist_ok=True)
    python, stamp = folder / "bin" / "python", folder / "stamp"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != sys.version + wanted:
            venv.create(folder, with_pip=True, clear=False, symlinks=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*install, "-r", CLIENTS / f"{client}.txt"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                _missing(f"{client} cannot be installed: {done.stderr[-400:]}")
            stamp.write_text(sys.version + wanted)
    return python


def _missing(reason: str) -> None:
    if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
