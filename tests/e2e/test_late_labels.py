"""Labels that come after the server was ended, in order or by SIGKILL, for predictions of any protocol."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulators.device_client import DeviceClient
from simulators.models import make_bundle

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
ROW = [0.5, -0.5, 0.25, 1.0]


@contextmanager
def device(bundle: Path, state: Path | None, ended_by: signal.Signals) -> Iterator[DeviceClient]:
    """Serve until the block ends, and then end the process by a signal."""
    kept = [] if state is None else ["--state-dir", str(state)]
    command = [sys.executable, "-m", "edgemm", "run", str(bundle), "--port", "0", *kept]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rpartition(" ")[2]
            with DeviceClient(address) as client:
                yield client
        finally:
            process.send_signal(ended_by)
            process.wait(60)


def told(client: DeviceClient, **label: Any) -> tuple[int, Any]:
    reply = client.post("/v2/feedback", json=label)
    return reply.status_code, reply.json


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "tiny.edgemm")
    return tmp_path / "tiny.edgemm"


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_label_comes_after_the_end_and_counts_once(bundle: Path, tmp_path: Path, ended_by: signal.Signals) -> None:
    state = tmp_path / "state"
    with device(bundle, state, ended_by) as client:
        made = client.post("/predict", json=[ROW]).headers["X-Request-Id"]
        batch = {"instances": [ROW, ROW]}
        client.post("/v1/models/tiny:predict", json=batch, headers={"X-Request-Id": "batch"})
        assert told(client, id="batch", row=1, label="ant")[0] == 200
        if ended_by is signal.SIGKILL:  # what was predicted is on the disk once it has waited, or with the next label
            client.post("/predict", json=[ROW], headers={"X-Request-Id": "after"})
            assert told(client, id=made, label="ant")[0] == 200
    with device(bundle, state, signal.SIGTERM) as client:
        status, answer = told(client, id="batch", row=1, label="ant")
        assert (status, "counts once" in answer["error"]) == (404, True)
        status, answer = told(client, id="batch", row=0, label="ant")
        assert (status, answer["version"], answer["row"]) == (200, "1.0.0", 0)
        assert told(client, id=made, label="ant")[0] == (200 if ended_by is signal.SIGTERM else 404)
        counted = client.get("/metrics").text
        total = [line for line in counted.splitlines() if line.startswith("edgemm_feedback_total")]
        assert sum(float(line.rpartition(" ")[2]) for line in total) == (2 if ended_by is signal.SIGTERM else 1)


def test_without_a_state_folder_a_restart_forgets(bundle: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with device(bundle, None, signal.SIGTERM) as client:
        client.post("/predict", json=[ROW], headers={"X-Request-Id": "7"})
        assert told(client, id="7", label="ant")[0] == 200
        assert told(client, id="7", label="ant")[0] == 404
    with device(bundle, None, signal.SIGTERM) as client:
        assert told(client, id="7", label="ant")[0] == 404
    assert sorted(tmp_path.iterdir()) == before
