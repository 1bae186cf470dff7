"""What a conversion with labelled data puts into the bundle to tell the accuracy without labels."""

from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.monitoring import monitor_document
from edgemm.monitoring.monitor_document import Modality, Scores
from edgemm_runtime.engines import load
from edgemm_runtime.monitoring.committee import Committee
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow


def test_the_document_is_in_the_bundle_and_counts_the_devices_answers(converted: Convert, models: Path) -> None:
    options = ("--target", "tflite", "--eval", models / "labelled.npz", "--monitor", "quick", "--report", "page.html")
    found = converted("cnn.keras", *options)
    with open_bundle(found.path) as bundle:
        manifest = bundle.manifest
        digest = manifest.documents[monitor_document.NAME]
        document = monitor_document.decode(bundle.read(digest))
        file = bundle.read(manifest.variants[0].blob)
    assert manifest.blobs[digest].media_type == monitor_document.MEDIA_TYPE
    assert manifest.lineage.options["monitor"] == "quick"
    assert (document.output, document.classes) == (manifest.signature.outputs[0].name, 10)
    assert (document.view.modality, document.scores) == (Modality.IMAGE, Scores.PROBABILITIES)
    assert len(document.trial.families) >= 20
    assert "monitoring without labels: " in str(found.summary["monitored"])
    page = (found.path.parent / "page.html").read_text()
    assert "Accuracy in the field, without labels" in page
    assert document.trial.families[0].family in page

    model = load(manifest.variants[0], manifest.signature, file)
    data = np.load(models / "labelled.npz")
    answered = model.run({manifest.signature.inputs[0].name: data["image"]})
    counts = (
        Committee(document)
        .answered({manifest.signature.inputs[0].name: data["image"]}, answered[document.output])
        .counts(10)
    )
    right = (answered[document.output].argmax(axis=1) == data["labels"]).mean()
    assert right == pytest.approx(document.clean_accuracy, abs=0.02)
    assert counts.samples == len(data["labels"])


def test_off_and_data_without_labels_leave_it_out(converted: Convert, models: Path) -> None:
    for options in (("--eval", models / "labelled.npz", "--monitor", "off"), ("--calibration", models / "images.npz")):
        found = converted("cnn.keras", "--target", "tflite", *options)
        assert monitor_document.NAME not in found.manifest.documents
        assert found.summary["monitored"] == []


def test_what_cannot_be_monitored_says_why_and_is_converted(converted: Convert, models: Path) -> None:
    options = ("--target", "tflite", "--eval", models / "numbers-exact.npz", "--metric", "mse", "--monitor", "quick")
    found = converted("detector.keras", *options)
    assert monitor_document.NAME not in found.manifest.documents
    assert found.summary["monitored"] == [
        "monitoring without labels: left out: mse is no metric of classes, which alone are monitored so far"
    ]


def test_a_word_that_is_no_effort_is_refused(conversions: Conversions, models: Path, tmp_path: Path) -> None:
    said = conversions.refused(models / "cnn.keras", "--monitor", "much", folder=tmp_path)
    assert "'much' is not one of 'quick', 'full', 'off'" in said
