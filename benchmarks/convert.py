"""How long `edgemm convert` takes, beside a bare script that imports TensorFlow, loads the same model and converts it.

    python -m benchmarks.convert FOLDER [--runs 3] [--model MobileNetV2]

Models of keras.applications, without trained weights, made once in FOLDER. Each run takes in turn: the bare script (one
float32 `.tflite`); `edgemm convert --target tflite --precision float32`, verification included, without and with a warm
cache; and the default, TFLite and ONNX. Medians of wall time, and of the CPU time of all processes, which tells more
where a machine has other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulators import needs

MODELS = ("MobileNetV2", "ResNet50")
SEED = 1
WAYS = ("bare", "float32", "warm", "all targets")
_QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}

_MAKE = """
import sys, keras
keras.utils.set_random_seed(int(sys.argv[2]))
getattr(keras.applications, sys.argv[1])(weights=None).save(sys.argv[3])
"""
_BARE = """
import sys, tensorflow as tf
model = tf.keras.models.load_model(sys.argv[1], compile=False)
open(sys.argv[2], "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


@dataclass(frozen=True)
class Taken:
    """One process with all that it started: seconds on the clock, and of CPU."""

    wall_s: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", choices=MODELS, action="append", help="repeatable; both by default")
    options = parser.parse_args()
    needs.packages("edgemm", "tensorflow", extras="converter")
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| model | way | wall, median s | ÷ bare | CPU, median s | ÷ bare |")
    print("|---|---|---|---|---|---|")
    for name in options.model or MODELS:
        taken = _measure(_made(name, options.folder), options.folder, runs=options.runs)
        for way in WAYS:
            print(_row(name, way, taken), flush=True)


def _made(name: str, folder: Path) -> Path:
    path = folder / f"{name}.keras"
    if not path.exists():
        _run([sys.executable, "-c", _MAKE, name, str(SEED), str(path)], _QUIET)
    return path


def _measure(model: Path, folder: Path, *, runs: int) -> dict[str, list[Taken]]:
    float32 = ["--target", "tflite", "--precision", "float32"]
    cache = {"EDGEMM_CACHE": str(folder / "cache")}
    ways: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "bare": ([sys.executable, "-c", _BARE, str(model), str(folder / "bare.tflite")], _QUIET),
        "float32": (_convert(model, folder, *float32, "--no-cache"), {}),
        "warm": (_convert(model, folder, *float32), cache),
        "all targets": (_convert(model, folder, "--no-cache"), {}),
    }
    _run(*ways["warm"])  # fills the cache
    taken: dict[str, list[Taken]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            taken[way].append(_run(*ways[way]))
    return taken


def _convert(model: Path, folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "edgemm", "convert", str(model), "-o", str(folder / "out.edgemm"), *options]


def _run(command: Sequence[str], more: Mapping[str, str]) -> Taken:
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {' '.join(command)}")
    return Taken(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


def _row(name: str, way: str, taken: Mapping[str, Sequence[Taken]]) -> str:
    wall, cpu = (
        {w: statistics.median(getattr(t, what) for t in taken[w]) for w in WAYS} for what in ("wall_s", "cpu_s")
    )
    cells = (
        name, way, f"{wall[way]:.2f}", f"{wall[way] / wall['bare']:.2f}", f"{cpu[way]:.2f}",
        f"{cpu[way] / cpu['bare']:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
