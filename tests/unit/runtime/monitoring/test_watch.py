"""The watch over a model: what it takes, what it counts, what it leaves alone."""

import threading

import numpy as np
import pytest

from edgemm.monitoring import EstimateState
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.monitoring.committee import Committee
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.monitoring.watch import ModelWatch
from edgemm_runtime.monitoring.watching import Watching
from tests.monitors import CLASSES, COLUMNS, small_document
from tests.unit.core.bundles import small_manifest

RANDOM = np.random.default_rng(4)
KEY = ServedKey("tiny", "1.0.0", "0" * 64, "tflite:int8")
EVERY = MonitorLimits(requests_per_minute=0)


def watch(limits: MonitorLimits = EVERY) -> ModelWatch:
    manifest = small_manifest()
    return ModelWatch(KEY, small_document(), manifest, manifest.variants[0], limits)


def asked(rows: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    inputs = {"x": RANDOM.normal(size=(rows, COLUMNS)).astype(np.float32)}
    return inputs, {"p": RANDOM.dirichlet(np.ones(CLASSES), rows).astype(np.float32)}


def wanted(one: ModelWatch) -> bool:
    return one.wanted


def test_what_is_taken_is_counted_as_one_pass_has_it() -> None:
    one = watch()
    requests = [asked(rows) for rows in (1, 5, 2)]
    for inputs, outputs in requests:
        one.take(inputs, outputs)
    one.settle()
    whole = {"x": np.concatenate([inputs["x"] for inputs, _ in requests])}
    answers = np.concatenate([outputs["p"] for _, outputs in requests])
    assert one.watched().counts == Committee(small_document()).answered(whole, answers).counts(CLASSES)
    assert one.watched().shed == 0


def test_a_request_is_copied_and_may_change_afterwards() -> None:
    one, (inputs, outputs) = watch(), asked(3)
    wanted = Committee(small_document()).answered(inputs, outputs["p"]).counts(CLASSES)
    one.take(inputs, outputs)
    inputs["x"][:], outputs["p"][:] = 9.0, 0.0
    one.settle()
    assert one.watched().counts == wanted


def test_rows_and_bytes_are_bounded_and_what_is_left_is_told() -> None:
    one = watch(MonitorLimits(requests_per_minute=0, rows=4, waiting_bytes=200))
    for _ in range(20):
        one.take(*asked(50))
    one.settle()
    found = one.watched()
    assert found.counts.samples == 12  # three requests of four rows of sixteen bytes
    assert found.shed == 17
    one.take(*asked(50))
    one.settle()
    assert one.watched().counts.samples == 16


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({}, {"p": np.ones((1, CLASSES), np.float32)}),
        ({"x": np.ones((1, COLUMNS), np.float32)}, {}),
        ({"x": np.ones((1, COLUMNS), np.float32)}, {"p": np.ones((0, CLASSES), np.float32)}),
        ({"x": np.ones((1, COLUMNS + 3), np.float32)}, {"p": np.ones((1, CLASSES), np.float32)}),
        ({"x": np.ones((2, COLUMNS), np.float32)}, {"p": np.ones((1, CLASSES), np.float32)}),
        ({"x": np.ones((1, COLUMNS), np.float32)}, {"p": np.ones((1, CLASSES + 4), np.float32)}),
    ],
)
def test_requests_that_do_not_fit_the_document_end_nothing(
    inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> None:
    one = watch()
    one.take(inputs, outputs)
    one.settle()
    one.take(*asked(2))
    one.settle()
    assert (one.watched().counts.samples, one.watched().shed) == (2, 1)


def test_the_newest_rows_are_estimated_and_older_ones_leave_it() -> None:
    one = watch(MonitorLimits(requests_per_minute=0, window=200))
    for _ in range(40):
        one.take(*asked(20))
        one.settle()
    found = one.watched()
    assert found.counts.samples == 800
    assert found.since_start.samples == 800
    assert 200 <= found.newest.samples <= 220
    assert found.newest.state is not EstimateState.INSUFFICIENT


def test_one_request_is_taken_in_each_interval() -> None:
    watching = Watching(MonitorLimits(requests_per_minute=1))
    manifest = small_manifest()
    one = watching.beside(KEY, small_document(), manifest, manifest.variants[0])
    for _ in range(2):
        assert wanted(one)
        one.take(*asked(1))
        assert not wanted(one)
        watching.settle()
    assert [found.counts.samples for found in watching.watched()] == [2]
    assert watching.beside(KEY, small_document(), manifest, manifest.variants[0]) is one
    watching.close()
    assert not any(thread.name == "edgemm-monitor" for thread in threading.enumerate())


def test_many_threads_lose_nothing() -> None:
    one = watch(MonitorLimits(requests_per_minute=0, waiting_bytes=10**9))

    def ask() -> None:
        for _ in range(50):
            one.take(*asked(1))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        one.settle()
    one.settle()
    assert one.watched().counts.samples == 300
