"""The bundles and inputs that both machines get: MLPerf Tiny, converted here.

    python -m benchmarks.arm64.models SHARED FOLDER

Each model is converted from Keras (int8 and float32 TFLite, float32 ONNX), and its published int8 `.tflite` is packaged
as it is. `FOLDER/NAME.npy` is what calibrates a model, and what it is asked later: recorded sound for `ad`, keyword
spectrograms for `sww`, and seeded noise in the range of real data for `ic` and `kws`, of which no data is published.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "converter"):
    import numpy as np
    import numpy.typing as npt

SOURCES = {
    "ad": "ad01.h5",
    "ad-ref": "ad01_int8.tflite",
    "ic": "pretrainedResnet.h5",
    "ic-ref": "pretrainedResnet_quant.tflite",
    "kws": "kws_ref_model",
    "kws-ref": "kws_ref_model.tflite",
    "sww": "str_ww_ref_model.h5",
    "sww-ref": "str_ww_ref_model.tflite",
}
SAMPLES = 100
_WINDOW_FRAMES = 5
_TIMEOUT_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    needs.packages("tensorflow", extras="converter")
    data, models = (needs.shared_path(f"{kind}/mlperf-tiny", folder=options.shared) for kind in ("data", "models"))
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, samples in _samples(data).items():
        np.save(options.folder / f"{name}.npy", samples[:SAMPLES])
    for name, source in SOURCES.items():
        print(f"converting {source} → {name}-1.0.0.edgemm", flush=True)
        _convert(models / source, options.folder, name)


def inputs_of(name: str) -> str:
    """Return the file of a model's inputs; a published file has those of the model that it was made from."""
    return f"{name.removesuffix('-ref')}.npy"


def _samples(data: Path) -> dict[str, npt.NDArray[np.float32]]:
    frames = np.fromfile(data / "ad_normal_frames.f32", "<f4").reshape(-1, 128)
    count = len(frames) - _WINDOW_FRAMES + 1
    random = np.random.default_rng(0)
    return {
        "ad": np.stack([frames[i : i + _WINDOW_FRAMES].ravel() for i in range(count)]),
        "ic": random.integers(0, 256, (SAMPLES, 32, 32, 3)).astype(np.float32),
        "kws": (random.normal(size=(SAMPLES, 49, 10, 1)) * 12).astype(np.float32),
        "sww": _array(data / "sww_labelled.npz", "specs"),
    }


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    with np.load(path) as file:
        return np.asarray(file[name], np.float32)


def _convert(source: Path, folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "edgemm", "convert", str(source), "-o", str(folder / f"{name}-1.0.0.edgemm")]
    command += ["--name", name, "--version", "1.0.0", "--calibration", str(folder / inputs_of(name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {source} was not converted: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


if __name__ == "__main__":
    main()
