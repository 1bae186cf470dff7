"""What a shadow can do wrong, with real processes: the active model is untouched, it is told, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgemm_runtime.shadow.shadow import ShadowState
from edgemm_runtime.shadow.tally import ShadowCounts
from simulators.greedy_models import make_greedy_bundle
from simulators.late_failures import Failure, make_late_bundle
from simulators.process_table import children
from simulators.serving import activate
from simulators.shadowed import FAST, ShadowedModel
from simulators.waiting import eventually

GOLDEN_SAMPLES = 16
"""More than a bundle of `simulators.models` has: a model that fails after so many inferences fails in a burst."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    files, before = _files(), children(os.getpid()).keys()
    yield
    assert {pid: command for pid, command in children(os.getpid()).items() if pid not in before} == {}
    assert _files() <= files


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _counts(model: ShadowedModel) -> ShadowCounts:
    [counts] = model.registry.shadows.counts()
    return counts


def _late(model: ShadowedModel, failure: Failure) -> None:
    path = model.folder / "late"
    make_late_bundle(path, version="2.0.0", seed=2, failure=failure, after=GOLDEN_SAMPLES)
    model.shadow_of(path)
    model.wait_until_it_runs()


def test_one_that_never_ends_is_killed_counted_and_given_up(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, replace(FAST, answer_timeout_s=1.0, max_crashes=1), batch=1)
    _late(model, Failure.HANG)
    model.ask(2 * GOLDEN_SAMPLES)
    eventually(lambda: model.state is ShadowState.FAILED, "it is given up")
    model.ask(2 * GOLDEN_SAMPLES)
    counts, [status] = _counts(model), model.registry.shadows.statuses()
    assert "no answer within 1 s, killed" in status.reason
    assert (counts.sampled, counts.crashes) == (4 * GOLDEN_SAMPLES, 1)
    assert counts.compared + counts.dropped == 4 * GOLDEN_SAMPLES
    assert counts.dropped > 0
    model.registry.shadows.close()


def test_one_that_hangs_is_ended_at_once_when_all_is_stopped(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, replace(FAST, answer_timeout_s=3600.0), batch=1)
    _late(model, Failure.HANG)
    model.ask(2 * GOLDEN_SAMPLES)
    shadow = model.registry.shadows.beside("tiny")
    assert shadow is not None
    pid = shadow.pid
    eventually(lambda: shadow.asking, "it computes")
    model.registry.shadows.close()
    assert shadow.gone
    assert not Path(f"/proc/{pid}").exists()
    assert _counts(model).crashes == 0


def test_one_that_segfaults_in_a_burst_is_counted_with_what_it_was_asked(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, replace(FAST, answer_timeout_s=3600.0, max_crashes=1), batch=1)
    _late(model, Failure.HANG)
    model.ask(2 * GOLDEN_SAMPLES)
    shadow = model.registry.shadows.beside("tiny")
    assert shadow is not None
    assert shadow.pid is not None
    eventually(lambda: shadow.asking, "it computes")
    os.kill(shadow.pid, signal.SIGSEGV)
    eventually(lambda: model.state is ShadowState.FAILED, "it is given up")
    model.ask(5)
    [status] = model.registry.shadows.statuses()
    assert "crashed: killed by SIGSEGV" in status.reason
    assert _counts(model).crashes == 1
    model.registry.shadows.close()


def test_one_that_fails_its_requests_is_counted_and_goes_on(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, batch=1)
    _late(model, Failure.ERRORS)
    model.ask(GOLDEN_SAMPLES + 10)
    eventually(lambda: _counts(model).errors > 0, "errors are counted")
    assert model.state is ShadowState.RUNNING
    assert model.registry.snapshot()[0].errors == 0
    model.registry.shadows.close()


def test_one_that_wants_more_memory_than_it_may_have_never_runs(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, replace(FAST, memory_share=1e-6), batch=1)
    path = tmp_path / "greedy"
    make_greedy_bundle(path, version="2.0.0", seed=2, needs_bytes=2**28)
    model.shadow_of(path)
    eventually(lambda: model.state is ShadowState.FAILED, "it is given up")
    model.ask(5)
    assert "cannot load" in model.registry.shadows.statuses()[0].reason
    model.registry.shadows.close()


def test_the_same_model_runs_where_the_memory_is_there(tmp_path: Path) -> None:
    model = ShadowedModel(tmp_path, batch=1)
    path = tmp_path / "greedy"
    make_greedy_bundle(path, version="2.0.0", seed=2, needs_bytes=2**24)
    model.shadow_of(path)
    model.wait_until_it_runs()
    model.registry.shadows.close()


def test_another_shadow_and_a_swap_wait_for_none_that_does_not_end(tmp_path: Path) -> None:
    """Its thread is kept from ending: as where the kernel does not let go of a process."""
    model = ShadowedModel(tmp_path)
    model.shadow(2)
    model.wait_until_it_runs()
    old = model.registry.shadows.beside("tiny")
    assert old is not None
    stuck = threading.Event()
    ended, old._close = old._close, stuck.wait  # type: ignore[method-assign, assignment]  # it waits
    model.shadow(3)
    activate(model.registry, model.path(4))
    assert not old.gone
    model.wait_until_it_runs()
    stuck.set()
    ended()
    model.registry.shadows.close()
    assert old.gone


ORPHAN = """
import sys
import numpy as np
from pathlib import Path
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.shadow.shadow_process import ShadowProcess
from edgemm_runtime.shadow.shadow_protocol import Sample, pack
shadow = ShadowProcess(BundleFile(Path(sys.argv[1])), "tflite:float32", timeout_s=600)
shadow.ready()
print(shadow.pid, flush=True)
tensor = lambda name, n: pack({name: np.zeros((1, n), np.float32)})
shadow.ask(tuple(Sample(tensor("x", 4), tensor("scores", 3)) for _ in range(32)))
"""


def test_one_that_hangs_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "late"
    make_late_bundle(path, version="2.0.0", seed=2, failure=Failure.HANG, after=GOLDEN_SAMPLES)
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    used = _cpu_ticks(pid)
    eventually(lambda: _cpu_ticks(pid) >= used + 30, "it computes and computes")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    # Nobody may be there to wait for an orphan.
    eventually(lambda: not _runs(pid), "it ended")


def _cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
