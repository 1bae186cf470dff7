"""Calibration data of every form, and what data that do not fit are told."""

import json
from pathlib import Path

import pytest

from edgemm.bundle import open_bundle
from tests.e2e.converter.conftest import Convert
from tests.e2e.processes import Place, refuses, run_edgemm

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

INT8 = ("--target", "tflite", "--precision", "int8", "--json")


def test_one_set_of_samples_in_any_form_makes_one_file(convert: Convert, place: Place) -> None:
    files = set()
    for form in ("images.npy", "images.csv"):
        found = convert("cnn.keras", *INT8, "--calibration", form, "-o", f"{form}.edgemm").json()
        (warning,) = found["warnings"]
        assert warning.startswith("48 calibration samples set the ranges of tflite:int8: ")
        manifest = run_edgemm("inspect", f"{form}.edgemm", "--json", at=place)
        files.add(json.loads(manifest.out)["variants"][0]["blob"])
    assert len(files) == 1


def test_a_comparison_that_shows_nothing_is_warned_of(convert: Convert) -> None:
    (warning,) = convert("saturated.keras", "--target", "onnx", "--json").json()["warnings"]
    assert warning.startswith("output 'class' of the source hardly varies")
    assert "--calibration" in warning


def test_values_that_the_source_does_not_take(convert: Convert, place: Place) -> None:
    done = convert("embedding.keras", "--target", "tflite", "--calibration", "unknown-words.npy")
    refuses(done, 2, "unknown-words.npy", "(layer 'embedding')", "index 53, of 0 to 19")
    assert "node" not in done.err
    assert not list(place.folder.glob("*.edgemm"))


def test_pixels_that_were_not_scaled_are_refused_by_the_declared_steps(convert: Convert, place: Place) -> None:
    declared = place.folder / "steps.toml"
    declared.write_text('[image]\nchannels = "gray"\nresize = { width = 8, height = 8 }\nscale = 0.00392156862745098\n')
    done = convert("cnn.keras", "--calibration", "pixels.npz", "--preprocess", declared)
    refuses(done, 2, "pixels.npz", "from 0 to 1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--eval-output", "digit"), ("--eval-output needs --eval",)),
        (("--eval", "labelled.npz", "--max-drop", "nan"), ("'--max-drop'", "'nan': expected a finite number")),
        (("--eval", "labelled.npz", "--max-drop", "-1"), ("'--max-drop'", "-1.0 is not in the range x>=0")),
        (("--eval", "labelled.npz", "--eval-output", "letter"), ("no output 'letter'", "it has digit")),
    ],
)
def test_options_that_can_never_work(
    convert: Convert, place: Place, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refuses(convert("cnn.keras", "--target", "onnx", *options), 2, *words)
    assert not list(place.folder.glob("*.edgemm"))


PARTING = ("parting.keras", "--target", "tflite", "--calibration", "numbers.npz", "--report", "page.html")


def test_a_variant_that_fails_names_the_layer_at_which_it_parts(convert: Convert, place: Place) -> None:
    done = convert(*PARTING, "--precision", "float32", "--precision", "int8")
    refuses(done, 1, "tflite:int8, output 'class'", "no bundle was written", "small", "adds most")
    assert {p.name for p in place.folder.iterdir()} == {"home"}


def test_a_variant_that_fails_and_that_nobody_asked_for_is_left_out(convert: Convert) -> None:
    done = convert(*PARTING, "--json")
    assert done.status == 0, done
    summary = json.loads(done.out)
    assert "tflite:int8" not in summary["variants"]
    assert {"tflite:float32"} <= set(summary["variants"])
    reason = summary["left_out"]["tflite:int8"]
    assert reason.startswith("tflite:int8, output 'class': the mean error on calibration data is")
    assert "is in its place" in reason or "adds most" in reason
    assert any("tflite:int8" in warning for warning in summary["warnings"])


def test_a_registered_custom_layer_is_named_without_its_package(convert: Convert, models: Path) -> None:
    refuses(convert("custom.keras"), 2, "--custom-objects MODULE:PlainLayer")


def test_data_that_a_finished_file_does_not_take(every_precision: Path, models: Path, place: Place) -> None:
    with open_bundle(every_precision / "cnn.edgemm") as bundle:
        (variant,) = [v for v in bundle.manifest.variants if v.id == "onnx:float32"]
        (place.folder / "cnn.onnx").write_bytes(bundle.read(variant.blob))
    done = run_edgemm("convert", "cnn.onnx", "--calibration", models / "numbers.npz", at=place)
    refuses(done, 2, "numbers.npz: input 'image': expected shape [samples, 8, 8, 1], found [120, 8]")
    assert "engine" not in done.errors[0]


def test_a_search_says_what_it_tried(convert: Convert) -> None:
    data = ("--calibration", "images.npz", "--eval", "labelled.npz", "--max-drop", "0.5", "--monitor", "off")
    done = convert("cnn.keras", "--target", "tflite", "--precision", "auto", *data)
    assert done.status == 0, done
    (tried,) = [line.split() for line in done.err.splitlines() if line.startswith("  tried ")]
    assert (tried[1], tried[3:5]) == ("int8", ["bytes", "drop"])
