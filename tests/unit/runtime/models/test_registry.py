"""Swapping models: never a failed request, never a model that did not answer a golden sample."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgemm.errors import NotFoundError, SelfTestError, UnavailableError
from edgemm.messages import LATENCY_EDGES_S
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.counters import Counters
from edgemm_runtime.models.registry import ModelRegistry
from simulators.models import Dense, make_bundle
from simulators.serving import activate

X = np.array([[0.5, -0.5, 0.25, 1]], np.float32)


def bundle(tmp_path: Path, version: str, *, seed: int, scramble: bool = False) -> Path:
    path = tmp_path / f"tiny-{version}.edgemm"
    make_bundle(path, version=version, seed=seed, scramble=scramble)
    return path


def test_swaps_under_load_fail_no_request_and_every_answer_is_of_one_model(tmp_path: Path) -> None:
    paths = [bundle(tmp_path, f"{n}.0.0", seed=n) for n in (1, 2)]
    expected = {f"{n}.0.0": Dense.random(n).predict(X) for n in (1, 2)}
    registry, wrong, done = ModelRegistry(), [], threading.Event()
    activate(registry, paths[0])

    def ask() -> None:
        while not done.is_set():
            served = registry.get("tiny")
            scores = served.predict({"x": X})["scores"]
            if not np.allclose(scores, expected[served.manifest.version], atol=1e-5):
                wrong.append(scores)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    swaps = 0
    while swaps < 30 or min(s.requests for s in registry.snapshot()) < 100:
        swaps += 1
        activate(registry, paths[swaps % 2])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    counts = {s.key.version: s for s in registry.snapshot()}
    assert set(counts) == {"1.0.0", "2.0.0"}
    assert sum(s.errors for s in counts.values()) == 0


def test_a_scrambled_model_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    registry = ModelRegistry()
    activate(registry, bundle(tmp_path, "1.0.0", seed=1))
    with pytest.raises(SelfTestError):
        activate(registry, bundle(tmp_path, "2.0.0", seed=2, scramble=True))
    assert registry.ready
    assert np.allclose(registry.get("tiny").predict({"x": X})["scores"], Dense.random(1).predict(X), atol=1e-5)


def test_a_request_ends_on_its_model_and_the_old_model_is_freed_after_it(tmp_path: Path) -> None:
    registry = ModelRegistry()
    activate(registry, bundle(tmp_path, "1.0.0", seed=1))
    old = registry.get("tiny")
    gone = weakref.ref(old)
    activate(registry, bundle(tmp_path, "2.0.0", seed=2))
    assert np.allclose(old.predict({"x": X})["scores"], Dense.random(1).predict(X), atol=1e-5)
    del old
    gc.collect()
    assert gone() is None


def test_a_deactivated_model_is_gone(tmp_path: Path) -> None:
    registry = ModelRegistry()
    activate(registry, bundle(tmp_path, "1.0.0", seed=1))
    registry.deactivate("tiny")
    registry.deactivate("never there")
    assert not registry.ready
    with pytest.raises(NotFoundError, match="served: none"):
        registry.get("tiny")


def test_counters_of_a_model_that_comes_back_go_on(tmp_path: Path) -> None:
    registry = ModelRegistry()
    paths = [bundle(tmp_path, f"{n}.0.0", seed=n) for n in (1, 2)]
    for path in (paths[0], paths[1], paths[0]):
        activate(registry, path).predict({"x": X})
    assert {s.key.version: s.requests for s in registry.snapshot()} == {"1.0.0": 2, "2.0.0": 1}


@pytest.mark.parametrize(
    ("latency_s", "bucket"),
    [(0.0, 0), (50e-6, 0), (51e-6, 1), (LATENCY_EDGES_S[-1], 31), (10.0, 32)],
)
def test_latencies_fall_into_the_buckets_of_the_telemetry(latency_s: float, bucket: int) -> None:
    counters = Counters(ServedKey("m", "1.0.0", "d", "v"))
    counters.add(latency_s, failed=True)
    snapshot = counters.snapshot()
    assert snapshot.latency_counts.index(1) == bucket
    assert (snapshot.requests, snapshot.errors, snapshot.latency_sum_s) == (1, 1, latency_s)


def test_counting_from_many_threads_loses_nothing() -> None:
    counters = Counters(ServedKey("m", "1.0.0", "d", "v"))

    def count(add: Callable[[float], None]) -> None:
        for _ in range(5000):
            add(0.001)

    threads = [threading.Thread(target=count, args=(counters.add,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot().requests == sum(counters.snapshot().latency_counts) == 20_000


def test_what_is_swapped_out_leaves_memory_at_once(tmp_path: Path) -> None:
    registry = ModelRegistry()
    make_bundle(tmp_path / "1", version="1.0.0", seed=1)
    make_bundle(tmp_path / "2", version="2.0.0", seed=2)
    gc.collect()
    gc.disable()
    try:
        for variant in ("tflite:float32", "onnx:float32"):
            old = weakref.ref(activate(registry, tmp_path / "1", variant=variant).model.loaded)
            activate(registry, tmp_path / "2", variant=variant)
            assert old() is None, f"{variant} waits for a collection of garbage"
    finally:
        gc.enable()
    assert len(registry.in_use()) == 1


def test_a_model_is_known_to_be_quick_before_its_first_request(tmp_path: Path) -> None:
    make_bundle(tmp_path / "1", version="1.0.0", seed=1)
    registry = ModelRegistry()
    activate(registry, tmp_path / "1")
    assert registry.usual_s("tiny") > 0


def _is_ready(registry: ModelRegistry) -> bool:
    """Ask anew: a type checker would take an attribute for what it was before."""
    return registry.ready


def test_a_model_that_is_loaded_again_is_not_ready_rather_than_unknown(tmp_path: Path) -> None:
    make_bundle(tmp_path / "1", version="1.0.0", seed=1)
    registry = ModelRegistry()
    activate(registry, tmp_path / "1")
    registry.suspend("tiny")
    with pytest.raises(UnavailableError, match="not ready"):
        registry.get("tiny")
    assert not _is_ready(registry)
    activate(registry, tmp_path / "1")
    assert _is_ready(registry)
    registry.suspend("tiny")
    registry.deactivate("tiny")
    with pytest.raises(NotFoundError):
        registry.get("tiny")
