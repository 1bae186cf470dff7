"""What a service manager hears of a process whose models answer, hang, fail, are swapped or are missing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import Bundle, open_bundle
from edgemm.errors import EngineError, UnavailableError
from edgemm_runtime.engines.hang_time import Had, Look
from edgemm_runtime.engines.interface import LoadedModel
from edgemm_runtime.engines.pacing import Rest, no_rest
from edgemm_runtime.engines.pool import Pool
from edgemm_runtime.models.model import Model
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.service.keeper import keeping
from edgemm_runtime.service.notify import Notifier
from edgemm_runtime.service.pulse import Pulse
from edgemm_runtime.service.watchdog import Sign
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from edgemm_runtime.tensors.stored_integers import StoredForm
from simulators.models import make_bundle
from simulators.service_manager import ServiceManager
from simulators.waiting import eventually

WATCHDOG_S = 0.4


class Stubborn:
    """A `WatchedModel` around a good one that can be told to hang or to fail."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.error: Exception | None = None
        self.asked = 0
        self.before: Callable[[], None] = lambda: None
        self.stuck = threading.Event()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self.asked += 1
        self.before()
        if not self.may_answer.is_set():
            self.stuck.set()
        assert self.may_answer.wait(60)
        if self.error is not None:
            raise self.error
        return self._inner.predict(inputs)

    @property
    def members(self) -> int:
        return 1

    def grow(self, members: int, *, rest: Rest = no_rest) -> None:
        pass

    @property
    def together(self) -> bool:
        return False

    def run_together(self, requests: Sequence[Arrays]) -> list[dict[str, Array]] | None:
        return None

    def tune(self, samples: Sequence[Arrays], *, rest: Rest = no_rest) -> None:
        pass

    def fresh(self) -> Stubborn:
        return self

    def as_stored(self, form: StoredForm) -> LoadedModel:
        raise AssertionError("nothing was asked for in the file's own integers")

    def overdue(self, look: Look) -> dict[int, Had]:
        return {}

    def well(self) -> bool:
        raise AssertionError("nothing was overdue")

    def is_long(self, inputs: Arrays, limit_s: float) -> bool:
        return False

    def give_up(self, thread: int) -> None:
        raise AssertionError("nothing was overdue")


class Device:
    """A registry with one real model in it that can be made stubborn."""

    def __init__(self, path: Path) -> None:
        self.registry = ModelRegistry()
        self.bundles: dict[str, Bundle] = {}
        self._path = path

    def serve(self, version: str = "1.0.0") -> Stubborn:
        path = self._path / version
        make_bundle(path, version=version)
        bundle = open_bundle(path).__enter__()
        self.bundles[bundle.digest] = bundle
        variant = bundle.manifest.variant("tflite:float32")
        served = self.registry.activate("tiny", bundle, variant)
        stubborn = Stubborn(served.model)
        served.model = Model(bundle.manifest, variant, stubborn, usual_s=0.001)
        return stubborn

    def pulse(self) -> Pulse:
        return Pulse(self.registry, lambda key: self.bundles[key.digest])


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    yield device
    for bundle in device.bundles.values():
        bundle.__exit__(None, None, None)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path) as manager:
        yield manager


def kept(
    device: Device, manager: ServiceManager, loop: list[float | None] | None = None
) -> AbstractContextManager[None]:
    notifier = Notifier.from_environment(manager.environment(watchdog_s=WATCHDOG_S))
    sources = device.pulse()._sources
    return keeping(notifier, device.registry, sources, loop=(lambda: loop[0]) if loop is not None else None)


def test_ready_once_fed_again_and_again_and_the_end_is_told(device: Device, manager: ServiceManager) -> None:
    device.serve()
    with kept(device, manager):
        manager.wait_for("WATCHDOG=1", times=4)
        assert manager.count("READY=1") == 1
        assert manager.status == "serving tiny 1.0.0"
        assert manager.heard[0] == "READY=1"
    manager.wait_for("STOPPING=1")
    assert manager.heard[-2:] == ["STOPPING=1", "STATUS=stopping: requests in flight are answered first"]


def test_not_ready_before_every_model_answered(device: Device, manager: ServiceManager) -> None:
    device.registry.expect("tiny")
    with kept(device, manager):
        eventually(lambda: manager.status == "tiny is not ready", "it says that it is starting")
        assert manager.count("READY=1") == manager.count("WATCHDOG=1") == 0
        device.serve()
        manager.wait_for("READY=1")


def test_a_model_that_hangs_starves_the_watchdog_until_it_answers_again(
    device: Device, manager: ServiceManager
) -> None:
    model = device.serve()
    with kept(device, manager):
        manager.wait_for("WATCHDOG=1", times=2)
        model.may_answer.clear()
        assert model.stuck.wait(60)
        late = "STATUS=tiny 1.0.0 does not answer"
        manager.wait_for(late, times=manager.count(late) + 1)
        fed = manager.count("WATCHDOG=1")
        manager.wait_for(late, times=manager.count(late) + 3)
        assert manager.count("WATCHDOG=1") == fed, "not once in three rounds"
        model.may_answer.set()
        manager.wait_for("WATCHDOG=1", times=fed + 2)
    assert manager.count("READY=1") == 1


def test_clients_that_have_all_of_a_model_starve_nobody(device: Device, manager: ServiceManager) -> None:
    """The golden sample waits for an interpreter: whether those of clients hang is told elsewhere."""
    model = device.serve()
    pool = Pool("one", lambda: "another", size=1)
    with kept(device, manager):
        manager.wait_for("WATCHDOG=1", times=2)
        member = pool.take()
        model.before = lambda: pool.give(pool.take())
        asked = model.asked
        eventually(lambda: model.asked > asked, "it waits")
        fed = manager.count("WATCHDOG=1")
        manager.wait_for("WATCHDOG=1", times=fed + 2)
        pool.give(member)


def test_a_model_that_fails_starves_it_too_and_one_bad_round_is_forgiven(
    device: Device, manager: ServiceManager
) -> None:
    model = device.serve()
    with kept(device, manager):
        manager.wait_for("READY=1")
        model.error = EngineError("out of order")
        eventually(lambda: "answers wrongly or fails" in manager.status, "it says that the model fails")
        fed = manager.count("WATCHDOG=1")
        model.error = None
        manager.wait_for("WATCHDOG=1", times=fed + 1)


def test_a_hung_model_that_was_replaced_does_not_count(device: Device) -> None:
    pulse, model = device.pulse(), device.serve()
    model.may_answer.clear()
    assert pulse.take(timeout_s=0.05) == {"tiny 1.0.0": Sign.LATE}
    device.serve("2.0.0")
    assert pulse.take(timeout_s=30) == {"tiny 2.0.0": Sign.ANSWERED}
    model.may_answer.set()


def test_a_model_that_hangs_costs_one_thread(device: Device) -> None:
    pulse, model = device.pulse(), device.serve()
    model.may_answer.clear()
    for _ in range(5):
        assert pulse.take(timeout_s=0.02) == {"tiny 1.0.0": Sign.LATE}
    assert model.asked == 1
    model.may_answer.set()
    eventually(lambda: pulse.take(timeout_s=30) == {"tiny 1.0.0": Sign.ANSWERED}, "it is asked anew")


def test_lack_of_room_is_no_bad_sign_while_others_are_answered(device: Device) -> None:
    pulse, model = device.pulse(), device.serve()
    model.error = UnavailableError("the queue is full")
    assert pulse.take(timeout_s=30) == {"tiny 1.0.0": Sign.BUSY}
    model.error = None
    device.registry.get("tiny").predict({"x": np.zeros((1, 4), np.float32)})
    model.error = UnavailableError("the queue is full")
    assert pulse.take(timeout_s=30) == {"tiny 1.0.0": Sign.ANSWERED}
    assert pulse.take(timeout_s=30) == {"tiny 1.0.0": Sign.BUSY}


def test_golden_samples_of_the_watchdog_are_not_counted(device: Device) -> None:
    device.serve()
    device.pulse().take(timeout_s=30)
    assert [s.requests for s in device.registry.snapshot()] == [0]


def test_a_device_with_nothing_to_serve_is_fed_by_its_loop(device: Device, manager: ServiceManager) -> None:
    loop: list[float | None] = [None]
    with kept(device, manager, loop):
        eventually(lambda: manager.status == "starting: loading what was active", "it starts")
        assert manager.count("READY=1") == 0
        loop[0] = float("inf")  # it has just come round, whenever one looks
        manager.wait_for("WATCHDOG=1", times=2)
        assert manager.count("READY=1") == 1
        loop[0] = float("-inf")
        eventually(lambda: "has not come round" in manager.status, "a loop that stopped starves it")
