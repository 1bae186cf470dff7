"""What a conversion with labelled data puts into the bundle to tell the accuracy without labels."""

from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.monitoring import monitor_document
from edgemm.monitoring.monitor_document import Modality
from edgemm_runtime.engines import load
from edgemm_runtime.monitoring.committee import Committee
from tests.unit.converter.conftest import Convert

pytestmark = pytest.mark.tensorflow


def test_the_document_is_in_the_bundle_and_counts_the_devices_answers(converted: Convert, models: Path) -> None:
    labelled = models / "rows-labelled.npz"
    options = ("--target", "tflite", "--eval", labelled, "--monitor", "quick", "--report", "page.html")
    found = converted("outlier.keras", *options)
    with open_bundle(found.path) as bundle:
        manifest = bundle.manifest
        digest = manifest.documents[monitor_document.NAME]
        document = monitor_document.decode(bundle.read(digest))
        file = bundle.read(manifest.variants[0].blob)
    [given], [answer] = manifest.signature.inputs, manifest.signature.outputs
    assert manifest.blobs[digest].media_type == monitor_document.MEDIA_TYPE
    assert manifest.lineage.options["monitor"] == "quick"
    assert (document.output, document.classes) == (answer.name, answer.shape[-1])
    assert (document.view.modality, document.view.inputs) == (Modality.TABLE, (given.name,))
    assert len(document.trial.families) >= 20
    assert "monitoring without labels: " in str(found.summary["monitored"])
    page = (found.path.parent / "page.html").read_text()
    assert "Accuracy in the field, without labels" in page
    assert document.trial.families[0].family in page

    data = np.load(labelled)
    answered = load(manifest.variants[0], manifest.signature, file).run({given.name: data["x"]})[answer.name]
    counts = Committee(document).answered({given.name: data["x"]}, answered).counts(document.classes)
    assert (answered.argmax(axis=1) == data["labels"]).mean() == pytest.approx(document.clean_accuracy, abs=0.02)
    assert counts.samples == len(data["labels"])


def test_few_labelled_rows_are_told(converted: Convert, models: Path) -> None:
    found = converted("cnn.keras", "--target", "tflite", "--eval", models / "labelled.npz", "--monitor", "quick")
    assert "there are 48 labelled rows, expected at least 60" in str(found.summary["monitored"])


def test_off_and_data_without_labels_leave_it_out(converted: Convert, models: Path) -> None:
    for options in (("--eval", models / "labelled.npz", "--monitor", "off"), ("--calibration", models / "images.npz")):
        found = converted("cnn.keras", "--target", "tflite", *options)
        assert monitor_document.NAME not in found.manifest.documents
        assert found.summary["monitored"] == []


def test_what_has_no_classes_has_no_accuracy(converted: Convert, models: Path) -> None:
    options = ("--target", "tflite", "--eval", models / "numbers-exact.npz", "--metric", "mse", "--monitor", "quick")
    found = converted("detector.keras", *options)
    assert monitor_document.NAME not in found.manifest.documents
    assert found.summary["monitored"] == []
