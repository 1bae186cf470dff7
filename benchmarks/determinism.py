"""Whether the same conversion gives the same bytes in every process.

    python -m benchmarks.determinism FOLDER [--processes 20]

A CNN and an LSTM, made once in FOLDER by `simulators.keras_models`, each converted by that many processes with another
PYTHONHASHSEED, in every precision, without the cache. What is compared are the bundles and each file in them. Exit
status 1 where two differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "converter"):
    from edgemm.bundle import open_bundle

PRECISIONS = ("float32", "float16", "int8", "int8-dynamic", "int16x8", "int8-weights", "int4-weights")
RECURRENT = ("float32", "float16", "int8-dynamic")
"""Integer arithmetic is not for every recurrent layer."""


@dataclass(frozen=True)
class Case:
    """A model of `simulators.keras_models` with its calibration data."""

    model: str
    precisions: tuple[str, ...]
    calibration: str | None = None


CASES = (Case("cnn.keras", PRECISIONS, "images.npz"), Case("lstm.keras", RECURRENT))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=20)
    options = parser.parse_args()
    needs.packages("tensorflow", extras="converter")
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / CASES[0].model).exists():
        subprocess.run([sys.executable, "-m", "simulators.keras_models", str(options.folder)], check=True)
    differing = 0
    print(f"| model | file | different bytes in {options.processes} processes |")
    print("|---|---|---|")
    for case in CASES:
        for name, digests in digests_of(case, options.folder, processes=options.processes).items():
            print(f"| {case.model} | {name} | {len(digests)} |", flush=True)
            differing += len(digests) > 1
    raise SystemExit(1 if differing else 0)


def digests_of(case: Case, folder: Path, *, processes: int) -> dict[str, set[str]]:
    """Return the SHA-256 of each variant's file, and of the whole bundle, as the processes made them."""
    found: dict[str, set[str]] = {}
    for seed in range(1, processes + 1):
        path = folder / f"{Path(case.model).stem}-{seed}.edgemm"
        convert(case, folder, path, seed=seed)
        found.setdefault("bundle", set()).add(hashlib.sha256(path.read_bytes()).hexdigest())
        with open_bundle(path) as bundle:
            for variant in bundle.manifest.variants:
                found.setdefault(variant.id, set()).add(variant.blob)
        path.unlink()
    return found


def convert(case: Case, folder: Path, path: Path, *, seed: int) -> None:
    """Convert one model in a process of its own."""
    command = [sys.executable, "-m", "edgemm", "convert", str(folder / case.model), "-o", str(path), "--no-cache"]
    command += [word for precision in case.precisions for word in ("--precision", precision)]
    if case.calibration is not None:
        command += ["--calibration", str(folder / case.calibration)]
    env = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


if __name__ == "__main__":
    main()
