"""The examples are run: against a real `edgemm run` process, and in a process of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simulators.models import Dense, make_bundle
from tests.docs.camera_model import STEPS, write_colour_bundle
from tests.docs.pages import ROOT
from tests.docs.serving import served

EXAMPLES = ROOT / "examples"
SEED, MAX_LINES = 7, 48
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "tiny-1.0.0.edgemm"
    make_bundle(path, seed=SEED)
    return path


@pytest.fixture(scope="module")
def address(bundle: Path) -> Iterator[str]:
    with served(bundle) as url:
        yield url


def run(*command: str | Path) -> str:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_it_is_used(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert any(f"examples/{path.name}" in line for line in lines[:6])


def test_the_curl_line_gets_the_answer(address: str) -> None:
    if shutil.which("curl") is None:
        if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
            pytest.fail("curl is not installed: apt install curl")
        pytest.skip("curl is not installed: apt install curl")
    x = [[0.1, 0.2, 0.3, 0.4]]
    answer = json.loads(run(EXAMPLES / "predict.sh", json.dumps(x), f"{address}/predict"))
    expected = Dense.random(SEED).predict(np.array(x, np.float32))
    assert answer["model"] == "tiny"
    assert answer["outputs"]["scores"] == [pytest.approx(expected[0], rel=1e-5)]


def test_the_curl_line_shows_what_was_wrong(address: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt install curl")
    done = subprocess.run(
        [EXAMPLES / "predict.sh", "[[1]]", f"{address}/predict"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "4" in json.loads(done.stdout)["error"]


def test_the_client_gets_the_same_answer_in_binary(address: str) -> None:
    said = run(sys.executable, EXAMPLES / "client.py", "tiny", address)
    x = np.random.default_rng(0).random((1, 4), np.float32)
    scores = json.loads(said.replace("'", '"'))["scores"]
    assert scores == [pytest.approx(Dense.random(SEED).predict(x)[0], rel=1e-5)]


def test_the_client_shows_the_error_of_the_server_or_of_its_absence(address: str) -> None:
    for model, url, said in (
        ("nobody", address, "nobody"),
        ("tiny", "http://127.0.0.1:9", "is `edgemm run BUNDLE` running?"),
    ):
        command = [sys.executable, str(EXAMPLES / "client.py"), model, url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert said in done.stderr


@pytest.mark.parametrize("labels", [("red", "green", "blue"), None])
def test_the_camera_loop_takes_frames_as_the_bundle_declares_them(
    tmp_path: Path, labels: tuple[str, ...] | None
) -> None:
    write_colour_bundle(tmp_path / "camera.edgemm", labels=labels, steps=STEPS)
    *frames, summary = run(
        sys.executable, EXAMPLES / "camera_loop.py", tmp_path / "camera.edgemm", "--frames", "3"
    ).splitlines()
    assert len(frames) == 3
    assert all(frame.split()[0] in labels if labels else frame.startswith("[[0.") for frame in frames), frames
    assert summary.startswith("3 frames with onnx:float32, median ")


def test_the_camera_loop_shows_an_error_as_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "camera_loop.py"), str(tmp_path / "nothing.edgemm")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot open bundle")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("variant", ["auto", "tflite:int8", "onnx:float32"])
def test_the_camera_loop_names_what_is_on_each_frame(bundle: Path, variant: str) -> None:
    *frames, summary = run(
        sys.executable, EXAMPLES / "camera_loop.py", bundle, "--frames", "5", "--variant", variant
    ).splitlines()
    assert [line.split()[0] in {"ant", "bee", "cat"} for line in frames] == [True] * 5
    chosen = "tflite:float32" if variant == "auto" else variant
    assert summary.startswith(f"5 frames with {chosen}, median ")


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {
        "predict.sh", "client.py", "camera_loop.py",
        "edgemm.toml", "fleet.toml",  # by the page of settings, in `test_configuration_page.py`
    }  # fmt: skip
