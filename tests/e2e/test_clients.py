"""Clients that nobody here wrote, unmodified and each in an environment of its own, against a served model.

`tritonclient`, which needs no environment of its own, is tested in `tests/unit/runtime/serving`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from edgemm_runtime.serving.server import ModelServer
from simulators.models import Dense, make_bundle
from simulators.serving import serving
from tests.clients.environments import CLIENTS, environment

pytestmark = [pytest.mark.runtime, pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(900)]
ROWS = np.random.default_rng(3).uniform(-1, 1, (2, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    path = tmp_path_factory.mktemp("served") / "tiny-1.0.0.edgemm"
    make_bundle(path)
    with serving(path) as server:
        yield server


@pytest.mark.parametrize("client", ["ovmsclient", "open-inference-openapi", "pydantic-open-inference", "kserve"])
def test_an_unmodified_client_reads_the_models_answer(server: ModelServer, client: str) -> None:
    python = environment(client)
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
