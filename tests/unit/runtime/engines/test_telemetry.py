"""An engine tells nobody what it runs: ONNX Runtime's own telemetry, on by default, stays off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgemm.bundle.engine_facts import Engine

_KEEP_IT_OFF = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "TF_BUILD", "GITHUB_ACTIONS")


@pytest.mark.parametrize("engine", Engine)
def test_an_engine_leaves_no_session_of_telemetry(engine: Engine, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in _KEEP_IT_OFF}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "edgemm_runtime.engines.probe", engine],
        env=kept | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert not list(tmp_path.iterdir())
