"""Files that keep state: a fresh model begins as the file does, and golden samples are one sequence."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from edgemm import __version__
from edgemm.bundle import open_bundle
from edgemm.errors import BadRequestError, NewerFormatError, SelfTestError
from edgemm.versions import Version
from edgemm_runtime import engines
from edgemm_runtime.engines import available, choice, golden, selftest
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.engines.choice import choose
from edgemm_runtime.engines.interface import WatchedModel
from edgemm_runtime.models.model import load
from edgemm_runtime.tensors.stored_integers import StoredForm
from simulators import stateful
from simulators.stateful import INPUT, OUTPUT, VARIANT
from simulators.tflite import Floats
from tests.golden.vector import FOLDER

WRITTEN = FOLDER / "bundle" / "wake-1.0.0.edgemm"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    stateful.make_bundle(tmp_path / "wake-1.0.0.edgemm")
    return tmp_path / "wake-1.0.0.edgemm"


def opened(path: Path) -> WatchedModel:
    with open_bundle(path) as source:
        variant = source.manifest.variant(VARIANT)
        return engines.load(variant, source.manifest.signature, source.read(variant.blob), stateful=True)


def answers(model: WatchedModel, x: Floats) -> Floats:
    return np.stack([model.run({INPUT: step})[OUTPUT] for step in x])


def test_a_fresh_model_begins_as_the_file_does_and_shares_nothing(path: Path) -> None:
    x, model = stateful.steps(6), opened(path)
    first = answers(model, x)
    assert np.allclose(first, stateful.predict(x), atol=1e-5)
    assert not np.allclose(answers(model, x), first), "it is one sequence, which goes on"
    fresh = model.fresh()
    answers(model, x)
    assert (answers(fresh, x) == first).all()
    assert (answers(fresh.fresh(), x) == first).all()


def test_a_model_without_state_is_as_fresh_as_ever(bundle_path: Path) -> None:
    with open_bundle(bundle_path) as source:
        variant = source.manifest.variant(VARIANT)
        model = engines.load(variant, source.manifest.signature, source.read(variant.blob))
    assert model.fresh() is model


def test_what_is_known_of_the_time_goes_on_in_a_fresh_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first inference of a slow model must not look as if it hung."""
    monkeypatch.setattr("edgemm_runtime.engines.timed._HANG_S", 0.0)
    model = opened(path)
    answers(model, stateful.steps(1))
    usual_s = model._model._timed.row_s  # type: ignore[attr-defined]
    assert usual_s > 0
    assert model.fresh()._model._timed.row_s == usual_s  # type: ignore[attr-defined]


def test_a_model_of_python_is_one_sequence_that_begins_after_its_self_test(path: Path) -> None:
    x = stateful.steps(5)
    model = load(path)
    found = np.stack([model.predict(step)[OUTPUT] for step in x])
    assert np.allclose(found, stateful.predict(x), atol=1e-5)
    again = model.fresh()
    assert (np.stack([again.predict(step)[OUTPUT] for step in x]) == found).all()


def test_raw_steps_are_of_the_same_sequence(path: Path) -> None:
    x, model = stateful.steps(4), opened(path)
    raw = model.as_stored(StoredForm(frozenset(), frozenset()))
    found = [(raw if index % 2 else model).run({INPUT: step})[OUTPUT] for index, step in enumerate(x)]
    assert np.allclose(np.stack(found), stateful.predict(x), atol=1e-5)
    with pytest.raises(BadRequestError):
        raw.run({INPUT: np.ones((2, 4), np.float32)})


def test_a_sequence_is_of_a_batch_of_one(tmp_path: Path) -> None:
    """LiteRT corrupts memory where a state meets another batch."""
    stateful.make_bundle(tmp_path / "any.edgemm", batch=-1)
    model, x = load(tmp_path / "any.edgemm"), stateful.steps(3)
    for wrong in (np.ones((8, 4), np.float32), np.ones((0, 4), np.float32)):
        with pytest.raises(BadRequestError, match=r"expected shape \[-?1, 4\], found"):
            model.predict(wrong)
    assert np.allclose(np.stack([model.predict(step)[OUTPUT] for step in x]), stateful.predict(x), atol=1e-5)


def test_golden_samples_are_one_sequence_from_the_beginning(path: Path) -> None:
    with open_bundle(path) as source:
        variant, model = source.manifest.variant(VARIANT), opened(path)
        golden.check(source, variant, model)
        with pytest.raises(SelfTestError, match="golden sample 0"):
            golden.check(source, variant, model)
        golden.check(source, variant, model.fresh())


def test_the_self_test_begins_anew_each_time(path: Path) -> None:
    for _ in range(2):
        selftest.run_in_child(BundleFile(path), VARIANT, timeout_s=60)


def test_an_older_runtime_refuses_the_bundle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle(path) as source:
        manifest = source.manifest
    assert Version(manifest.minimum_runtime) <= Version(__version__)
    assert choose(manifest, engines=available()).require().id == VARIANT
    monkeypatch.setattr(choice, "__version__", "0.1.0")
    with pytest.raises(NewerFormatError, match=r"minimum runtime 0\.2\.0 is newer than 0\.1\.0"):
        choose(manifest, engines=available())


def test_what_was_once_written_is_run_for_ever() -> None:
    with open_bundle(WRITTEN) as source:
        samples = golden.read_samples(source)
    selftest.check(BundleFile(WRITTEN), VARIANT)
    assert np.allclose(answers(opened(WRITTEN), samples.inputs[INPUT]), samples.outputs[OUTPUT], atol=1e-5)
    assert not np.allclose(answers(opened(WRITTEN), samples.inputs[INPUT][::-1])[::-1], samples.outputs[OUTPUT])


def test_a_manifest_says_it_or_is_as_before(path: Path) -> None:
    with open_bundle(path) as source:
        manifest = source.manifest
    assert b'"stateful":true' in manifest.encode()
    assert b"stateful" not in msgspec.structs.replace(manifest, stateful=UNSET).encode()
