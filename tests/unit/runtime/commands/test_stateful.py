"""The commands over a stateful bundle: its inputs are the steps of one sequence, and it has no shadow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.cli import run
from edgemm_runtime.commands import announcing
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.serving.server import ModelServer
from simulators import stateful


@pytest.fixture
def path(tmp_path: Path) -> Path:
    stateful.make_bundle(tmp_path / "wake-1.0.0.edgemm")
    return tmp_path / "wake-1.0.0.edgemm"


def test_predict_takes_its_inputs_as_one_sequence(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = stateful.steps(4)
    for _ in range(2):
        assert run(["predict", str(path), *(json.dumps(step.tolist()) for step in x), "--json"]) == 0
        found = [answer["outputs"]["score"] for answer in json.loads(capfd.readouterr().out)]
        assert np.allclose(found, stateful.predict(x), atol=1e-5)


def test_inspect_says_it(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(path)]) == 0
    assert "stateful: each client asks it in a sequence of its own" in capfd.readouterr().out


def test_run_refuses_a_shadow_beside_it(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", str(path), "--port", "0", "--shadow", str(path)]) == 2
    assert "cannot run as a shadow: the active model is stateful" in capfd.readouterr().err


def test_run_prints_a_curl_line_that_begins_a_sequence(path: Path) -> None:
    with open_bundle(path) as bundle, ModelServer(ModelRegistry()) as server:
        assert "-H 'X-Sequence-Id: me' -H 'X-Sequence-Start: true'" in announcing.curl_line(server, bundle)


@pytest.mark.slow
def test_bench_and_verify_run_it(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(path)]) == 0
    assert "passed" in capfd.readouterr().out
    assert run(["bench", str(path), "--runs", "5", "--threads", "1", "--json"]) == 0
    assert [found["runs"] for found in json.loads(capfd.readouterr().out)["variants"]] == [5]
