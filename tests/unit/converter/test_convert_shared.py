"""The real trained models of MLPerf Tiny."""

from pathlib import Path

import numpy as np
import pytest

from edgemm.bundle.manifest import DType
from tests.unit.converter.conftest import Convert

pytestmark = pytest.mark.tensorflow
WINDOW = 5 * 128


def test_the_anomaly_detector_with_its_real_data(shared: Path, converted: Convert, tmp_path: Path) -> None:
    frames = np.fromfile(shared / "data" / "mlperf-tiny" / "ad_normal_frames.f32", "<f4").reshape(200, 128)
    windows = np.stack([frames[i : i + 5].reshape(WINDOW) for i in range(196)])
    np.save(tmp_path / "windows.npy", windows)
    found = converted(shared / "models" / "mlperf-tiny" / "ad01.h5", "--calibration", tmp_path / "windows.npy")
    assert [v.id for v in found.manifest.variants] == ["tflite:int8", "tflite:float32", "onnx:float32"]
    assert found.manifest.signature.inputs[0].shape == (-1, WINDOW)
    real = {p.variant: p for p in found.manifest.parity if p.data == "calibration"}
    assert all(p.samples == 196 for p in real.values())
    assert real["tflite:float32"].outputs[0].cosine > 0.999999
    assert real["tflite:int8"].outputs[0].cosine > 0.999
    sizes = {v.id: found.manifest.blobs[v.blob].size for v in found.manifest.variants}
    assert sizes["tflite:int8"] < 0.3 * sizes["tflite:float32"]


def test_the_image_classifier(shared: Path, converted: Convert, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    found = converted(
        shared / "models" / "mlperf-tiny" / "pretrainedResnet.h5", "--calibration", tmp_path / "images.npy"
    )
    assert found.manifest.signature.outputs[0].shape == (-1, 10)
    floats = [o for p in found.manifest.parity if "float32" in p.variant for o in p.outputs]
    assert max(o.relative for o in floats) < 1e-5
    assert min(o.argmax_agreement or 0.0 for o in floats) == 1.0
    int8 = found.manifest.variant("tflite:int8")
    assert [t.dtype for t in int8.inputs + int8.outputs] == [DType.INT8, DType.INT8]
