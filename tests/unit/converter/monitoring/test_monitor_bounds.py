"""What the making of a monitor takes, and that nothing that goes wrong in it ends a conversion."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm.errors import BadRequestError, BundleError, ConversionError, EdgemmError, EngineError, EnvironmentFailure
from edgemm.monitoring.monitor_document import Modality, Scores, View
from edgemm_converter import conversion
from edgemm_converter.cache import fingerprint
from edgemm_converter.children.child import ChildLimits
from edgemm_converter.data.arrays import Array
from edgemm_converter.job import installed_packages, job
from edgemm_converter.job.monitor_effort import MonitorEffort
from edgemm_converter.judging.assembly import Measured
from edgemm_converter.judging.evaluation import MetricQuestion
from edgemm_converter.judging.metrics import Metric
from edgemm_converter.monitoring import child, corrupted_pools, parent
from edgemm_converter.monitoring.corruptions import corrupted, families
from edgemm_converter.monitoring.monitor_plan import FULL, QUICK, pool_rows
from edgemm_converter.monitoring.parent import MonitorMade
from edgemm_converter.monitoring.view_choice import UnmonitoredError
from edgemm_runtime.monitoring import input_features
from tests.monitors import float32

RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.integers(0, 3, 100)


def test_pools_take_no_more_memory_and_time_than_there_is() -> None:
    small = {"pools": 184, "work": 100_000, "numbers": 64, "kept": 400}
    assert pool_rows(QUICK, 720, **small) == 720
    assert pool_rows(QUICK, 100, **small) == 400
    many_classes = pool_rows(FULL, 3_000, pools=296, work=100_000, numbers=64, kept=400 + 4 * 1000)
    assert many_classes >= 60
    assert many_classes * 296 * 4 * 4400 < 2 * 2**30
    assert pool_rows(QUICK, 720, pools=184, work=1_000, numbers=1024 * 1024 * 3, kept=400) == 0


def test_large_inputs_are_corrupted_few_at_a_time() -> None:
    asked = list[int]()

    def run(inputs: Mapping[str, Array]) -> Array:
        asked.append(len(inputs["x"]))
        return np.full((len(inputs["x"]), 3), 1 / 3, np.float32)

    view = View(inputs=("x",), modality=Modality.IMAGE, rows=8, columns=8)
    applied = ((families(Modality.IMAGE)[0], 1.0),)
    images = {"x": RANDOM.random((20, 320, 320, 3)).astype(np.float32)}
    found = corrupted_pools.pool(
        view, images, np.arange(20) % 3, applied, rows=np.arange(20), run=run, scores=Scores.PROBABILITIES,
        profiled=lambda given: input_features.values(view, given), random=np.random.default_rng(1),
    )  # fmt: skip
    assert asked == [8, 8, 4]
    assert [len(one) for one in (*found.views, found.means, found.model)] == [20] * 5


def test_integers_of_a_table_stay_what_they_may_be() -> None:
    view = View(inputs=("age", "city"), modality=Modality.TABLE, centre=float32([40, 2]), scale=float32([10, 1]))
    rows: dict[str, Array] = {
        "age": RANDOM.normal(40, 10, (50, 1)).astype(np.float32),
        "city": RANDOM.integers(0, 5, (50, 1)),
    }
    for family in families(Modality.TABLE):
        found = corrupted(view, rows, [(family, 5.0)], np.random.default_rng(1))["city"]
        assert found.dtype == rows["city"].dtype
        assert (found.min() >= rows["city"].min(), found.max() <= rows["city"].max()) == (True, True), family


@pytest.mark.parametrize("error", [EngineError("it broke"), BadRequestError("NaN in a tensor")])
def test_a_model_that_refuses_corrupted_data_is_not_monitored(error: EdgemmError) -> None:
    def run(_inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        raise error

    with pytest.raises(UnmonitoredError, match="it fails on corrupted data: "):
        child._runner(run, "p", 128)({"x": np.zeros((3, 2), np.float32)})


def test_labels_that_are_no_classes_are_told() -> None:
    with pytest.raises(UnmonitoredError, match="labels are classes 0 to 7, and its output has 3 numbers"):
        child._check(np.array([0, 1, 7] * 40), 3)


def made(monkeypatch: pytest.MonkeyPatch, folder: Path, error: Exception) -> MonitorMade | None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parent, "run_child", failing)
    monkeypatch.setattr(parent, "_request", lambda *_, **__: None)
    given: Any = SimpleNamespace(monitor=MonitorEffort.QUICK, stateful=False)
    x = RANDOM.random((100, 1, 4)).astype(np.float32)
    data: Any = Measured(SimpleNamespace(rows=1, samples=100), {"x": x}, {"p": x[..., :3]}, {})  # type: ignore[arg-type]
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="p", dtype=DType.FLOAT32, shape=(-1, 3)),),
    )
    ran: Any = None
    run = parent.MonitoredRun(signature, ran, MetricQuestion(Metric.ACCURACY, "p", TRUTH, "labelled.npz"), data)
    return parent.made(given, run, folder, limits=ChildLimits(), progress=lambda _stage: None)


@pytest.mark.parametrize("kind", [ConversionError, BundleError, EngineError, BadRequestError])
def test_nothing_that_goes_wrong_ends_a_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[EdgemmError]
) -> None:
    found = made(monkeypatch, tmp_path, kind("it went wrong"))
    assert found == MonitorMade(None, "it went wrong", repeatable=kind is not ConversionError)


@pytest.mark.parametrize("repeatable", [True, False])
def test_what_a_limit_left_out_is_tried_again(monkeypatch: pytest.MonkeyPatch, *, repeatable: bool) -> None:
    put = list[str]()
    cache = SimpleNamespace(get=lambda _key: None, put=lambda key, _entry: put.append(key))
    monkeypatch.setattr(conversion, "Cache", SimpleNamespace(of_environment=lambda: cache))
    monkeypatch.setattr(fingerprint, "of", lambda _given: "key")
    monkeypatch.setattr(job, "check", lambda *_: SimpleNamespace(format=None, required=()))
    monkeypatch.setattr(installed_packages, "require_for", lambda *_: None)
    monkeypatch.setattr(conversion, "_convert", lambda *_, **__: SimpleNamespace(repeatable=repeatable))
    monkeypatch.setattr(conversion, "_finished", lambda *_, **__: None)
    conversion.convert("model.keras")
    assert put == ["key"] * repeatable


def test_a_full_disk_ends_a_conversion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="no room"):
        made(monkeypatch, tmp_path, EnvironmentFailure("no room"))


def test_scores_beside_a_class_are_monitored() -> None:
    scores = np.eye(3, dtype=np.float32)[TRUTH] * 0.7 + 0.1
    source = {"label": TRUTH[:, None], "other": RANDOM.random((100, 1, 3)), "p": scores[:, None, :]}
    asked = MetricQuestion(Metric.ACCURACY, "label", TRUTH, "labelled.npz", classes=3)
    assert parent.monitored_output(asked, source) == "p"
    assert parent.monitored_output(MetricQuestion(Metric.ACCURACY, "p", TRUTH, "labelled.npz"), source) == "p"
    del source["p"]
    with pytest.raises(EdgemmError, match="is not the class of the largest of 'other'"):
        parent.monitored_output(asked, source)
