"""Models of strings: ONNX Runtime computes them, golden samples tell what differs, and others refuse them by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgemm import __version__
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, Manifest, Variant
from edgemm.cli import run
from edgemm.errors import BadRequestError, EngineError, EngineUnavailableError, NewerFormatError, SelfTestError
from edgemm.versions import Version
from edgemm_runtime import engines, load
from edgemm_runtime.engines import choice, golden, litert, selftest
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.engines.choice import choose
from edgemm_runtime.engines.interface import LoadedModel
from edgemm_runtime.models.model import Model
from edgemm_runtime.tensors.named_arrays import Array, Arrays
from simulators.tables import ROWS, VARIANT, answer, arrays, make_table
from tests.golden.vector import FOLDER

WRITTEN = FOLDER / "bundle" / "visits-1.0.0.edgemm"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("strings") / "visits-1.0.0.edgemm"
    make_table(path)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load(path)


def test_strings_and_numbers_go_in_and_come_out(model: Model) -> None:
    found = model.predict(arrays(ROWS))
    assert {name: array.tolist() for name, array in found.items()} == answer(ROWS)
    assert (found["label"].dtype, found["seen"].shape) == (np.dtype(object), (3, 1))


def test_a_program_gives_lists_and_none_for_what_is_missing(model: Model) -> None:
    columns = {name: [getattr(row, name) for row in ROWS] for name in ("age", "visits", "city", "member")}
    assert model.predict(columns)["label"].tolist() == answer(ROWS)["label"]
    assert model.predict(columns | {"city": np.array(columns["city"])})["label"].tolist() == answer(ROWS)["label"]
    with pytest.raises(BadRequestError, match=r"input 'city', row 1 \(from 0\): expected a string, found null"):
        model.predict(columns | {"city": ["Graz", None, "Wien"]})
    with pytest.raises(BadRequestError, match="input 'visits': expected int64 values"):
        model.predict(columns | {"visits": [1, None, 2]})


def test_golden_samples_pass_in_a_process_of_their_own(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selftest.run_in_child(BundleFile(path), VARIANT, timeout_s=60)
    assert run(["verify", str(path)]) == 0
    assert "passed" in capsys.readouterr().out


class _Changed:
    """A model that answers one label otherwise."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def run(self, inputs: Arrays) -> dict[str, Array]:
        found = self._model.run(inputs)
        return found | {"label": np.array(["geht nicht"], object)}


def test_another_label_fails_the_self_test(path: Path, model: Model) -> None:
    with open_bundle(path) as source:
        variant = source.manifest.variant(VARIANT)
        golden.check(source, variant, model.loaded)
        with pytest.raises(
            SelfTestError, match="golden sample 0, output 'label': expected an error of at most 0, found 1"
        ):
            golden.check(source, variant, _Changed(model.loaded))


def test_a_batch_of_rows_is_seen_to_be_the_same(model: Model) -> None:
    assert model.loaded.together
    answers = model.loaded.run_together([arrays([row]) for row in ROWS])
    assert answers is not None
    assert [one["label"].tolist() for one in answers] == [[label] for label in answer(ROWS)["label"]]


def test_a_failure_is_judged_with_strings_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(path)
    session = model.loaded._session._session  # type: ignore[attr-defined]

    class Failing:
        """Refuses one city, as an engine may."""

        def run(self, outputs: object, feeds: Arrays, options: object) -> object:
            if "Atlantis" in feeds["city"].ravel().tolist():
                raise ValueError("index out of range")
            return session.run(outputs, feeds, options)

    monkeypatch.setattr(model.loaded._session, "_session", Failing())  # type: ignore[attr-defined]
    with pytest.raises(BadRequestError, match="input 'city': expected texts that the model was .* found 'Atlantis'"):
        model.predict(arrays([ROWS[0]._replace(city="Atlantis")]))
    assert model.predict(arrays(ROWS))["label"].tolist() == answer(ROWS)["label"]


def test_an_older_runtime_refuses_the_bundle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle(path) as source:
        manifest = source.manifest
    assert Version("0.2.0") < Version(manifest.minimum_runtime) <= Version(__version__)
    assert choose(manifest, engines=engines.available()).require().id == VARIANT
    monkeypatch.setattr(choice, "__version__", "0.2.0")
    with pytest.raises(NewerFormatError, match=r"minimum runtime 0\.3\.0 is newer than 0\.2\.0"):
        choose(manifest, engines=engines.available())


def test_an_engine_without_strings_is_passed_over_by_name(path: Path) -> None:
    with open_bundle(path) as source:
        manifest = _of_tflite(source.manifest)
    [variant] = manifest.variants
    with pytest.raises(
        EngineUnavailableError, match="tflite:float32 has a tensor 'city' of strings, which edgemm serves by"
    ):
        choose(manifest, engines=engines.available()).require()
    with pytest.raises(EngineUnavailableError, match="of strings"):
        engines.load(variant, manifest.signature, b"")
    with pytest.raises(EngineError, match="tensor 'city' is of strings, which edgemm serves by ONNX Runtime alone"):
        litert.open_session(variant, b"", 1)


def _of_tflite(manifest: Manifest) -> Manifest:
    def moved(variant: Variant) -> Variant:
        return msgspec.structs.replace(variant, id="tflite:float32", engine="tflite", minimum_engine="1.0")

    told = {"tflite:float32": manifest.golden.tolerance[VARIANT]}
    golden_samples = msgspec.structs.replace(manifest.golden, tolerance=told)
    return msgspec.structs.replace(manifest, variants=tuple(map(moved, manifest.variants)), golden=golden_samples)


def test_a_plain_file_is_measured_with_empty_strings(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_bundle(path) as source:
        (tmp_path / "visits.onnx").write_bytes(source.read(source.manifest.variants[0].blob))
    assert run(["bench", str(tmp_path / "visits.onnx"), "--runs", "1", "--threads", "1"]) == 0
    assert run(["bench", str(path), "--runs", "1", "--threads", "1"]) == 0
    assert "onnx:float32" in capsys.readouterr().out


def test_what_was_once_written_is_run_for_ever() -> None:
    with open_bundle(WRITTEN) as source:
        samples = golden.read_samples(source)
    selftest.check(BundleFile(WRITTEN), VARIANT)
    assert samples.inputs["city"].dtype == np.dtype(object)
    assert samples.outputs["label"].ravel().tolist() == answer(ROWS)["label"]
    assert {spec.name: spec.dtype for spec in source.manifest.signature.inputs}["city"] is DType.STRING
    assert load(WRITTEN).predict(arrays(ROWS))["seen"].tolist() == answer(ROWS)["seen"]
