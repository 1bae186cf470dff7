"""Finished files that keep state: refused until it is declared, then verified as a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm_runtime import engines
from edgemm_runtime.engines import golden
from edgemm_runtime.models.model import load
from simulators import stateful
from tests.once import once
from tests.programs import Forked
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="session")
def modules(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.stateful_modules` filled."""
    return once(tmp_path_factory, "stateful_modules", lambda folder: forked.simulator("stateful_modules", folder))


@pytest.mark.parametrize("name", ["stream", "branch", "loop"])
def test_a_file_that_writes_its_variable_is_refused_until_it_is_declared(
    name: str, modules: Path, conversions: Conversions, tmp_path: Path
) -> None:
    error = conversions.refused(modules / f"{name}.tflite", folder=tmp_path)
    assert "keeps state between inferences (the resource variable 'window')" in error
    assert "give --stateful, and each client is served in a sequence of its own" in error


def test_a_variable_tensor_is_refused_too(conversions: Conversions, tmp_path: Path) -> None:
    (tmp_path / "svdf.tflite").write_bytes(stateful.with_variable_tensor())
    error = conversions.refused("svdf.tflite", folder=tmp_path)
    assert "keeps state between inferences (the variable tensor 'state' of SVDF)" in error


def test_one_that_does_not_repeat_itself_cannot_be_verified(conversions: Conversions, tmp_path: Path) -> None:
    (tmp_path / "noisy.tflite").write_bytes(stateful.with_resource_variable(noisy=True))
    error = conversions.refused("noisy.tflite", "--stateful", folder=tmp_path)
    assert "answers the same inputs in two ways in output 'score': it draws random numbers, or keeps state" in error


def test_a_declared_one_is_verified_as_a_sequence(modules: Path, converted: Convert) -> None:
    found = converted(modules / "stream.tflite", "--stateful")
    assert found.manifest.stateful is True
    assert found.manifest.minimum_runtime == "0.2.0"
    assert found.manifest.lineage.options["stateful"] == "true"
    with open_bundle(found.path) as bundle:
        samples, variant = golden.read_samples(bundle), bundle.manifest.variants[0]
        assert b"Stateful: an answer depends on the requests before it" in bundle.read(
            bundle.manifest.documents["model-card"]
        )
        assert bundle.read(variant.blob) == (modules / "stream.tflite").read_bytes()
        model = engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob), stateful=True)
    run = [model.run(samples.input(index))["score"] for index in range(samples.count)]
    assert samples.count == 12
    assert np.allclose(np.stack(run), samples.outputs["score"], atol=1e-6)
    alone = [model.fresh().run(samples.input(index))["score"] for index in range(samples.count)]
    assert not np.allclose(np.stack(alone), samples.outputs["score"], atol=1e-3), "samples stand in order"
    again = load(found.path)
    assert np.allclose(again.predict(samples.input(0))["score"], samples.outputs["score"][0], atol=1e-6)


def test_a_variable_batch_is_that_of_one_client(conversions: Conversions, tmp_path: Path) -> None:
    (tmp_path / "any.tflite").write_bytes(stateful.with_resource_variable(batch=-1))
    done = conversions.run("any.tflite", "--stateful", folder=tmp_path)
    assert done.status == 0, done.stderr
    with open_bundle(tmp_path / "any-0.1.0.edgemm") as bundle:
        assert bundle.manifest.signature.inputs[0].shape == (1, 4)
        assert bundle.manifest.golden.samples == 12


def test_one_that_only_reads_its_variable_is_packaged_as_any_other(
    modules: Path, converted: Convert, conversions: Conversions, tmp_path: Path
) -> None:
    found = converted(modules / "reads.tflite")
    assert not found.manifest.stateful
    assert found.manifest.minimum_runtime == "0.1.0"
    assert not converted(modules / "counts.tflite").manifest.stateful, "no output needs what it counts"
    both = converted(modules / "both.tflite", "--signature", "reads")
    assert not both.manifest.stateful, "what another signature writes is not its state"
    error = conversions.refused(modules / "reads.tflite", "--stateful", folder=tmp_path)
    assert "keeps no state between inferences: leave --stateful out" in error


def test_what_a_stateful_model_cannot_have_is_said(
    models: Path, modules: Path, conversions: Conversions, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 4), np.float32), labels=np.zeros(4, np.int64))
    for option in ("--calibration", "--eval"):
        error = conversions.refused(modules / "stream.tflite", "--stateful", option, "data.npz", folder=tmp_path)
        assert f"{option} has samples that are independent of one another" in error
    error = conversions.refused(models / "cnn.keras", "--stateful", folder=tmp_path)
    assert "--stateful is for finished files that keep state" in error
