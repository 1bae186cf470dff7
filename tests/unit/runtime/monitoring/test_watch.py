"""The watch over a model: what it takes, what it counts, what it leaves alone."""

import threading

import numpy as np
import pytest

from edgemm.monitoring import EstimateState
from edgemm.monitoring.monitor_document import FeatureProfile
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.monitoring.committee import Committee
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.monitoring.watch import ModelWatch
from edgemm_runtime.monitoring.watching import Watching
from tests.monitors import CLASSES, COLUMNS, float32, small_document
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
    one = watch(MonitorLimits(requests_per_minute=0, rows=4, waiting_bytes=3_500))
    for _ in range(20):
        one.take(*asked(50))
    one.settle()
    found = one.watched()
    assert found.counts.samples == 12  # three requests of four rows of 28 bytes, and 1,024 each
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


def test_a_model_whose_requests_do_not_fit_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    one = watch()
    for _ in range(3):
        one.take({"x": np.ones((1, COLUMNS + 3), np.float32)}, asked(1)[1])
    one.settle()
    assert [record.levelname for record in caplog.records if "is not monitored" in record.message] == ["WARNING"]
    assert one.watched().shed == 3


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


def test_means_beyond_all_windows_leave_no_number_in_either_estimate() -> None:
    profile = tuple(
        FeatureProfile(name=f"x[{place}]", edges=float32([-1, 0, 1]), counts=(0,) * 5, low=-0.5, high=0.5)
        for place in range(COLUMNS)
    )
    manifest = small_manifest()
    one = ModelWatch(KEY, small_document(profile=profile), manifest, manifest.variants[0], EVERY)
    for moved, wanted in ((0.0, False), (5.0, True)):
        for _ in range(30):
            inputs, outputs = asked(20)
            one.take({"x": inputs["x"] + np.float32(moved)}, outputs)
            one.settle()
        found = one.watched()
        for told in (found.newest, found.since_start):
            assert (told.state is EstimateState.OUT_OF_RANGE, told.accuracy is None) == (wanted, wanted)
        assert found.features[0][:3] != (0, 0, 0)


def test_one_request_is_taken_in_each_interval() -> None:
    watching = Watching(MonitorLimits(requests_per_minute=1))
    manifest = small_manifest()
    one = watching.beside(KEY, small_document(), manifest, manifest.variants[0])
    for _ in range(2):
        assert wanted(one)
        one.take(*asked(1))
        assert not wanted(one)
        watching.settle()
    assert one.watched().counts.samples == 2
    assert watching.beside(KEY, small_document(), manifest, manifest.variants[0]) is one
    watching.close()
    assert not any(thread.name == "edgemm-monitor" for thread in threading.enumerate())


def test_of_large_rows_as_many_are_taken_as_fit_and_one_alone() -> None:
    one = watch(MonitorLimits(requests_per_minute=0, waiting_bytes=1024 + 28 * 3, row_bytes=4096))
    one.take(*asked(20))
    one.settle()
    assert (one.watched().counts.samples, one.watched().shed) == (3, 0)
    small = watch(MonitorLimits(requests_per_minute=0, waiting_bytes=10, row_bytes=4096))
    small.take(*asked(20))
    small.take(*asked(20))
    small.settle()
    assert (small.watched().counts.samples, small.watched().shed) == (1, 1)
    none = watch(MonitorLimits(requests_per_minute=0, waiting_bytes=10, row_bytes=20))
    none.take(*asked(20))
    assert none.watched().shed == 1


def test_wide_outputs_and_many_tiny_requests_are_bounded() -> None:
    one = watch(MonitorLimits(requests_per_minute=0, waiting_bytes=20_000, row_bytes=4096))
    for _ in range(100):
        one.take(*asked(1))
    assert one.watched().shed == 100 - 19  # beside its numbers, a request is charged 1,024 bytes
    inputs, _ = asked(1)
    one.settle()
    one.take(inputs, {"p": np.zeros((1, 10_000), np.float32)})
    assert one.watched().shed == 100 - 19 + 1


def test_watches_of_what_is_served_no_more_are_dropped_in_the_end() -> None:
    watching, manifest = Watching(MonitorLimits(requests_per_minute=1)), small_manifest()

    def beside(version: str) -> ModelWatch:
        key = ServedKey("tiny", version, "0" * 64, "tflite:int8")
        return watching.beside(key, small_document(), manifest, manifest.variants[0], in_use=[KEY])

    served = beside("1.0.0")
    others = [beside(f"2.{number}.0") for number in range(20)]
    assert beside("1.0.0") is served
    assert beside("2.19.0") is others[19]
    assert beside("2.0.0") is not others[0]
    assert len(watching._watches) <= 7
    watching.close()


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
