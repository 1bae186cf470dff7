"""What a finished file carries: told, overridden by the user, and refused where it contradicts the shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemm.bundle.manifest import Preprocessing
from simulators import tflite
from simulators.carried import AXIS_LABELS, Said, with_metadata, with_properties
from simulators.models import Dense, onnx_file
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow
DENSE = tflite.dense_float32(np.eye(4, 3, dtype=np.float32), np.zeros(3, np.float32), batch=1)


def labelled(folder: Path, names: str) -> Path:
    path = folder / "dense.tflite"
    path.write_bytes(with_metadata(DENSE, [Said()], [Said(labels=[("l.txt", AXIS_LABELS, "")])], {"l.txt": names}))
    return path


def test_labels_of_another_count_than_the_outputs_are_refused(conversions: Conversions, tmp_path: Path) -> None:
    error = conversions.refused(labelled(tmp_path, "a\nb"), folder=tmp_path)
    assert "l.txt: 2 labels were given, and no output has as many values: StatefulPartitionedCall has 3" in error
    assert "give --labels" in error


def test_labels_of_the_user_win_over_wrong_ones_of_the_file(converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one\ntwo\nthree\n")
    found = converted(labelled(tmp_path, "a\nb"), "--labels", tmp_path / "mine.txt")
    assert found.manifest.labels == ("one", "two", "three")
    assert "not taken, since --labels was given" in str(found.summary["from_file"])


def test_names_of_an_onnx_file_become_labels(converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "dense.onnx").write_bytes(
        with_properties(onnx_file(Dense.random(0)), {"names": "{0: 'ant', 1: 'bee', 2: 'cat'}", "stride": "32"})
    )
    found = converted(tmp_path / "dense.onnx")
    assert found.manifest.labels == ("ant", "bee", "cat")
    assert found.manifest.minimum_runtime == "0.1.0"
    assert found.summary["from_file"] == ["from the file: 3 labels (ant, bee, cat, …) from 'names' of metadata_props"]


def test_images_become_calibration_data_as_the_file_says(converted: Convert, tmp_path: Path) -> None:
    kernel, bias = np.ones((1, 1, 3, 2), np.float32), np.zeros(2, np.float32)
    data = with_metadata(tflite.conv_float32(kernel, bias), [Said(image=True, mean=[127.5], std=[127.5])], [Said()], {})
    (tmp_path / "conv.tflite").write_bytes(data)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    found = converted(tmp_path / "conv.tflite", "--calibration", tmp_path / "photos")
    assert found.manifest.preprocessing == {"x": Preprocessing(mean=(127.5,), std=(127.5,))}
    assert found.manifest.reference_profile is not None
    assert found.manifest.reference_profile.samples == 3


def test_data_may_leave_out_a_batch_that_is_fixed_at_one(converted: Convert, tmp_path: Path) -> None:
    (tmp_path / "dense.tflite").write_bytes(DENSE)
    values = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "batched.npy", values[:, None])
    without, with_it = (
        converted(tmp_path / "dense.tflite", "--calibration", tmp_path / name) for name in ("x.npy", "batched.npy")
    )
    assert without.manifest.golden.inputs == with_it.manifest.golden.inputs
