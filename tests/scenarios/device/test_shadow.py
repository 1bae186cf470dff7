"""`edgemm run --shadow` with real processes: the shadow is counted, and nothing of it ever reaches a client."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import urllib3

from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.shadow.shadow import Shadow, ShadowState
from edgemm_runtime.shadow.shadow_limits import ShadowLimits
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from simulators.shadowed import FAST, ROWS, ShadowedModel
from simulators.waiting import eventually
from tests.e2e.processes import Place, Programs


@pytest.fixture
def device(tmp_path: Path) -> Any:
    device = ShadowedModel(tmp_path)
    yield device
    device.registry.shadows.close()


def test_a_shadow_is_compared_by_class_with_numpys_answers(device: ShadowedModel) -> None:
    device.shadow(2)
    device.wait_until_it_runs()
    device.ask(3)
    eventually(lambda: device.registry.shadows.counts()[0].compared == 3, "it answered what it was shown")
    [counts] = device.registry.shadows.counts()
    active, shadow = (Dense.random(seed).predict(ROWS) for seed in (1, 2))
    same = int((active.argmax(1) == shadow.argmax(1)).sum())
    found = counts.agreement["scores"]
    assert (counts.sampled, counts.errors, counts.dropped, counts.crashes) == (3, 0, 0, 0)
    if hasattr(found, "agreed"):
        assert sum(found.agreed.values()) == 3 * same
    else:
        assert found.values == 3 * active.size
        assert found.above == 3 * int((shadow > active).sum())


def test_a_shadow_that_is_killed_comes_back_and_then_is_given_up(device: ShadowedModel) -> None:
    device.shadow(2)
    for _ in range(FAST.max_crashes):
        device.wait_until_it_runs()
        shadow = device.registry.shadows.beside("tiny")
        assert shadow is not None
        _kill_and_wait(shadow, device)
    eventually(lambda: device.state is ShadowState.FAILED, "it is given up")
    device.ask(5)


def _kill_and_wait(shadow: Shadow, device: ShadowedModel) -> None:
    pid = shadow.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    device.ask(2)
    eventually(lambda: shadow.pid != pid, "its loss is seen")


def test_a_shadow_that_fails_its_golden_samples_never_runs(device: ShadowedModel) -> None:
    device.shadow(2, scramble=True)
    eventually(lambda: device.state is ShadowState.FAILED, "it fails")
    assert "golden sample" in device.registry.shadows.statuses()[0].reason
    device.ask(5)


def test_a_swap_keeps_the_shadow_and_counts_the_new_pair_apart(device: ShadowedModel) -> None:
    device.shadow(2)
    device.wait_until_it_runs()
    device.ask(2)
    eventually(lambda: device.registry.shadows.counts()[0].compared == 2, "the first pair is counted")
    activate(device.registry, device.path(3))
    device.registry.get("tiny").predict({"x": ROWS})
    eventually(lambda: len(device.registry.shadows.counts()) == 2, "the second pair is counted")
    assert {c.key.active.version for c in device.registry.shadows.counts()} == {"1.0.0", "3.0.0"}


def test_what_waits_is_bounded_and_the_rest_is_counted_as_dropped(tmp_path: Path) -> None:
    device = ShadowedModel(tmp_path, ShadowLimits(gather_s=60.0))
    device.shadow(2)
    device.ask(100)
    [counts] = device.registry.shadows.counts()
    assert (counts.sampled, counts.dropped) == (100, 100 - ShadowLimits().burst_samples)
    device.registry.shadows.close()
    assert device.registry.shadows.counts()[0].dropped == 100


def test_what_it_found_is_at_an_address_and_on_metrics(device: ShadowedModel) -> None:
    device.shadow(2)
    device.wait_until_it_runs()
    device.ask(2)
    eventually(lambda: device.registry.shadows.counts()[0].compared == 2, "it is counted")
    with ModelServer(device.registry) as server:
        answer = urllib3.request("GET", f"{server.address}/shadow").json()
        [told] = answer["shadows"]
        assert told["beside"][0]["compared"] == 2
        metrics = urllib3.request("GET", f"{server.address}/metrics").data.decode()
    assert 'edgemm_shadow_samples_total{model="tiny",outcome="compared"' in metrics
    assert 'edgemm_shadow_running{model="tiny",shadow_variant="tflite:float32",shadow_version="2.0.0"} 1.0' in metrics


@pytest.mark.slow
def test_edgemm_run_with_a_shadow_tells_how_it_agrees(tmp_path: Path) -> None:
    for number in (1, 2):
        make_bundle(tmp_path / f"{number}.edgemm", version=f"{number}.0.0", seed=number)
    with Programs(Place.make(tmp_path / "place")) as programs:
        active, candidate = str(tmp_path / "1.edgemm"), str(tmp_path / "2.edgemm")
        program = programs.start("run", "run", active, "--shadow", candidate, "--shadow-share", "1", "--port", "0")
        address = program.wait_for(r"curl -s (http://[\d.:]+)/shadow")
        body = json.dumps({"inputs": ROWS.tolist()})

        def compared() -> bool:
            assert urllib3.request("POST", f"{address}/predict", body=body).status == 200
            beside = urllib3.request("GET", f"{address}/shadow").json()["shadows"][0]["beside"]
            return bool(beside) and beside[0]["compared"] > 0

        eventually(compared, "the shadow answered")
