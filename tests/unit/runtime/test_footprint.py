"""A device loads nothing that only a workstation needs, whatever is installed beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.models import make_bundle

UNWANTED = {
    "PIL", "edgemm_converter", "edgemm_demo", "edgemm_fleet", "keras", "matplotlib", "onnx", "pandas",
    "scipy", "sklearn", "sqlalchemy", "tensorflow", "tf2onnx", "tf_keras", "torch",
}  # fmt: skip
AGENT = "import edgemm_runtime.agent.main"
SERVER = """
import sys
from pathlib import Path
from edgemm.bundle import open_bundle
from edgemm_runtime.serving.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
import edgemm_runtime.commands.run
import urllib3
registry = ModelRegistry()
with open_bundle(Path(sys.argv[1])) as source:
    registry.activate("tiny", source, source.manifest.variant("tflite:float32"))
with ModelServer(registry) as server:
    assert urllib3.request("POST", server.address + "/predict", body=b"[[1, 2, 3, 4]]").status == 200
    assert urllib3.request("GET", server.address + "/metrics").status == 200
"""


@pytest.mark.parametrize("program", [AGENT, SERVER], ids=["the agent", "a server that answers"])
def test_nothing_of_the_workstation_is_loaded(tmp_path: Path, program: str) -> None:
    make_bundle(tmp_path / "tiny")
    told = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told, str(tmp_path / "tiny")], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "edgemm_runtime" in loaded
    assert not loaded & UNWANTED


def test_the_device_extra_asks_for_none_of_it() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    wanted = " ".join([*project["dependencies"], *project["optional-dependencies"]["runtime"]])
    assert not [name for name in ("tensorflow", "keras", "pandas", "onnx", "scikit", "torch") if name in wanted]
