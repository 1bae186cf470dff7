"""An engine that another package brings, known by entry points alone, from a Keras model to a served answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simulators import packages
from simulators.toy_engine.file import ToyFile
from simulators.waiting import eventually
from tests.e2e.processes import Done, Place, Programs, run_edgemm
from tests.programs import ROOT

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

KERNEL = np.array([[1, -1, 0.5], [2, 0, 1], [0.25, 3, -1], [1, 1, 1]], np.float32)
BIAS = np.array([0.5, -0.5, 1], np.float32)
ROW = [[1.0, 2.0, -1.0, 0.5]]
EXPECTED = np.array(ROW) @ KERNEL + BIAS
ENTRY_POINTS = {
    "edgemm.engines": {"toy": "simulators.toy_engine.facts:FACTS"},
    "edgemm.drivers": {"toy": "simulators.toy_engine.driver"},
    "edgemm.targets": {"toy": "simulators.toy_engine.target:TARGET"},
}
MAKE = """\
import sys, keras, numpy as np
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="scores")])
model.layers[0].set_weights([np.array(a, "float32") for a in eval(sys.argv[2])])
model.save(sys.argv[1])
"""


Installation = Callable[[bool], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Install the package of the toy engine, as pip leaves it (metadata beside modules), or remove it again."""
    packages.install(tmp_path / "site", "toy-engine", version="1.2.0", entry_points=ENTRY_POINTS)
    before = os.environ.get("PYTHONPATH", "")
    with_it = os.pathsep.join((str(tmp_path / "site"), str(ROOT), before))
    return lambda present: monkeypatch.setenv("PYTHONPATH", with_it if present else before)


@pytest.fixture
def source(place: Place) -> Path:
    path = place.folder / "dense.keras"
    weights = repr([KERNEL.tolist(), BIAS.tolist()])
    subprocess.run([sys.executable, "-c", MAKE, str(path), weights], check=True, capture_output=True)
    return path


def convert(source: Path, place: Place, *options: str) -> Path:
    found = run_edgemm("convert", source, "--json", *options, at=place, timeout_s=250).json()
    return place.folder / str(found["path"])


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/v2/health/ready") as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError:
        return False


def scores(done: Done) -> list[list[float]]:
    found: list[list[float]] = done.json()["outputs"]["scores"]
    return found


def test_from_a_keras_model_to_a_served_answer(place: Place, source: Path, install: Installation) -> None:
    install(True)
    bundle = convert(source, place, "--target", "toy", "--target", "tflite")
    manifest = run_edgemm("inspect", bundle, "--json", at=place).json()
    assert [v["id"] for v in manifest["variants"]] == ["tflite:float32", "toy:float32"]
    toy = manifest["variants"][1]
    assert manifest["blobs"][toy["blob"]]["media_type"] == "application/x-toy"
    assert manifest["lineage"]["libraries"]["toy-engine"] == "1.2.0"
    assert "skipped" not in run_edgemm("inspect", bundle, at=place).out

    checked = run_edgemm("verify", bundle, "--json", at=place).json()
    assert [check["result"] for check in checked["variants"]] == ["passed", "passed"]
    answer = run_edgemm("predict", bundle, "--variant", "toy:float32", "--json", json.dumps(ROW), at=place)
    assert np.allclose(scores(answer), EXPECTED, atol=1e-5)

    with Programs(place) as programs:
        device = programs.start("device", "run", str(bundle), "--variant", "toy:float32", "--port", "0")
        address = device.wait_for(r"address=(\S+)")
        eventually(lambda: _is_ready(address), "the model serves")
        with urllib.request.urlopen(f"{address}/v2/models/dense") as reply:
            assert json.load(reply)["platform"] == "numpy_toy"
        asked = urllib.request.Request(f"{address}/predict", json.dumps({"inputs": ROW}).encode())
        with urllib.request.urlopen(asked) as reply:
            assert np.allclose(json.load(reply)["outputs"]["scores"], EXPECTED, atol=1e-5)
        assert device.terminate().status == 0

    measured = run_edgemm("bench", bundle, "--runs", "5", "--threads", "1", "--json", at=place).json()
    assert measured["engines"]["toy:float32"] == "toy-engine 1.2.0"
    found = run_edgemm("doctor", "--json", at=place).json()
    assert found["engines"][-1] == {
        "engine": "toy", "distribution": "toy-engine", "version": "1.2.0", "problem": None,
    }  # fmt: skip

    install(False)
    assert "variant toy:float32 is skipped: it is for engine 'toy'" in run_edgemm("inspect", bundle, at=place).out
    checked = run_edgemm("verify", bundle, "--json", at=place).json()
    assert [check["result"] for check in checked["variants"]] == ["passed", "not run"]
    assert np.allclose(scores(run_edgemm("predict", bundle, "--json", json.dumps(ROW), at=place)), EXPECTED, atol=1e-5)


def test_a_finished_file_is_packaged_and_measured(place: Place, install: Installation) -> None:
    install(True)
    path = place.folder / "dense.toy"
    path.write_bytes(ToyFile("into", "out", KERNEL, BIAS).write())
    bundle = convert(path, place)
    assert bundle.name == "dense-0.1.0.edgemm"
    assert run_edgemm("verify", bundle, at=place).status == 0
    measured = run_edgemm("bench", path, "--runs", "5", "--threads", "1", "--json", at=place).json()
    assert measured["variants"][0]["variant"] == "toy"
