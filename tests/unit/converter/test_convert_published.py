"""Published models of others, whose right answers are known: packaged, and served as their makers mean them."""

from __future__ import annotations

import wave
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from msgspec import UNSET
from PIL import Image

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import LabelKind, LabelledOutput
from edgemm.errors import SelfTestError
from edgemm_runtime.engines import golden, litert, load
from edgemm_runtime.engines.interpreter import Interpreter
from edgemm_runtime.models import model as models
from edgemm_runtime.serving.protocols.predict import codec, forms
from simulators.scrambled import scrambled
from tests.conftest import missing
from tests.unit.converter.conftest import Convert, Converted

pytestmark = [pytest.mark.tensorflow, pytest.mark.exhaustive]
SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
CLASSIFIER = "mobilenet_v1_0.25_224_1_metadata_1.tflite"
LEAST_BUDGET = 256 * 1024
TILE = 2039
"""After how many numbers a large random input repeats itself."""


@pytest.fixture(scope="session")
def library(shared: Path) -> Path:
    folder = shared / "models" / "task-library"
    return folder if folder.is_dir() else missing(f"no published models at {folder}")


def predicted(found: Converted, image: Path) -> tuple[models.Model, dict[str, np.ndarray]]:
    """Return what the bundle answers to an image that is sent to `/predict`."""
    model = models.load(found.path)
    given = forms.decode(image.read_bytes(), model.manifest, content_type="image/jpeg")
    return model, model.predict(given)


def golden_bytes(found: Converted) -> int:
    samples = found.manifest.golden
    return sum(found.manifest.blobs[digest].size for digest in {*samples.inputs.values(), *samples.outputs.values()})


def test_a_detector_answers_to_the_last_digit(library: Path, converted: Convert) -> None:
    found = converted(library / SSD)
    model, outputs = predicted(found, library / "cats_and_dogs.jpg")
    boxes, classes, scores, _ = outputs.values()
    assert [f"{score:.6f}" for score in scores[0, :3]] == ["0.644531", "0.609375", "0.562500"]
    labels = found.manifest.labels or ()
    assert [labels[int(index)] for index in classes[0, :4]] == ["cat", "cat", "cat", "dog"]
    pixels = boxes[0, :4] * np.array([600, 1200, 600, 1200])  # top, left, bottom, right
    found_boxes = [[left, top, right - left, bottom - top] for top, left, bottom, right in pixels]
    expected = [[54, 396, 393, 196], [602, 157, 394, 447], [261, 394, 181, 209], [387, 197, 281, 409]]
    assert np.abs(np.array(found_boxes) - expected).max() <= 8
    assert found.manifest.labels_of == (
        LabelledOutput(output="TFLite_Detection_PostProcess_1", kind=LabelKind.INDICES),
    )
    assert codec.make_answer(model.manifest, outputs, name="ssd").top is UNSET
    assert found.manifest.minimum_runtime == "0.2.0"
    told = found.summary["from_file"]
    assert isinstance(told, list)
    assert any("90 labels (person, bicycle, car, …) from labelmap.txt" in line for line in told)


def test_labels_and_preprocessing_of_a_user_win(library: Path, converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("\n".join(f"thing {i}" for i in range(90)))
    (tmp_path / "p.toml").write_text(
        "[normalized_input_image_tensor]\nresize = { width = 300, height = 300 }\nmean = [128]\nstd = [128]\n"
    )
    found = converted(library / SSD, "--labels", tmp_path / "l.txt", "--preprocess", tmp_path / "p.toml")
    assert (found.manifest.labels or ())[:2] == ("thing 0", "thing 1")
    _, outputs = predicted(found, library / "cats_and_dogs.jpg")
    assert abs(float(list(outputs.values())[2][0, 0]) - 0.668) < 0.001  # Pillow's kernel
    assert "not taken, since --labels was given" in str(found.summary["from_file"])


def test_a_segmentation_equals_the_makers_pixel_by_pixel(library: Path, converted: Convert) -> None:
    found = converted(library / "deeplabv3.tflite")
    _, outputs = predicted(found, library / "segmentation_input_rotation0.jpg")
    [scores] = outputs.values()
    expected = np.asarray(Image.open(library / "segmentation_golden_rotation0.png"))
    assert (scores[0].argmax(axis=-1) * 10 == expected).sum() == 66_049
    assert golden_bytes(found) <= max(2_780_051 // 4, LEAST_BUDGET)
    assert found.path.stat().st_size < 1.3 * 2_780_051
    assert found.manifest.minimum_runtime == "0.2.0"


def test_a_classifier_names_what_is_in_an_image(library: Path, converted: Convert) -> None:
    found = converted(library / CLASSIFIER)
    model, outputs = predicted(found, library / "burger.jpg")
    [top] = codec.make_answer(model.manifest, outputs, name="m").top  # type: ignore[misc]
    assert top.label == "cheeseburger"  # type: ignore[union-attr]
    assert golden_bytes(found) <= max(1_894_378 // 4, LEAST_BUDGET)


def test_a_model_of_sounds_hears_speech(library: Path, converted: Convert) -> None:
    found = converted(library / "yamnet.tflite")
    with wave.open(str(library / "speech.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    model = models.load(found.path)
    for number, score in enumerate([0.92, 0.99, 0.98, 1.0]):
        window = samples[number * 15_600 : (number + 1) * 15_600]
        [answer] = model.predict({found.manifest.signature.inputs[0].name: window}).values()
        assert (found.manifest.labels or ())[int(answer.argmax())] == "Speech"
        assert abs(float(answer.max()) - score) < 0.01


@pytest.mark.parametrize(
    "resolver", [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES], ids=str
)
@pytest.mark.parametrize("name", [SSD, "yamnet.tflite", CLASSIFIER, "../mlperf-tiny/pretrainedResnet_quant.tflite"])
def test_other_kernels_pass_the_self_test_and_a_wrong_model_does_not(
    library: Path, converted: Convert, monkeypatch: pytest.MonkeyPatch, name: str, resolver: OpResolverType
) -> None:
    found = converted((library / name).resolve())
    monkeypatch.setattr(litert, "Interpreter", partial(Interpreter, experimental_op_resolver_type=resolver))
    with open_bundle(found.path) as bundle:
        [variant] = bundle.manifest.variants
        file, signature = bundle.read(variant.blob), bundle.manifest.signature
        expected = golden.expectation(bundle, variant)
        assert expected.other_kernels is not None
        expected.check(load(variant, signature, file))
        for wrong in (scrambled(file), scrambled(file, tensors=1)):
            with pytest.raises(SelfTestError):
                expected.check(load(variant, signature, wrong))


def test_the_kernels_that_were_verified_are_held_to_the_ordinary_tolerance(library: Path, converted: Convert) -> None:
    found = converted(library / SSD)
    with open_bundle(found.path) as bundle:
        assert golden.expectation(bundle, bundle.manifest.variants[0]).other_kernels is None
        inputs = golden.read_samples(bundle).inputs
    [array] = inputs.values()
    assert array.shape[1:] == (1, 300, 300, 3)
    assert len(array) > 12  # edge inputs come last
    flat = array[:12].reshape(12, -1)
    assert np.array_equal(flat[:, TILE : 2 * TILE], flat[:, :TILE])
