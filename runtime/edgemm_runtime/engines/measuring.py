"""How fast and how large one variant is on this machine: measured in a process of its own.

The child is `python -m edgemm_runtime.engines.measuring`; it prints one JSON document. Nothing of it ever enters a
manifest: speed belongs to a machine.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from edgemm.bundle import open_bundle
from edgemm.errors import EdgemmError, EngineError
from edgemm_runtime.engines import golden, load

_MODULE = "edgemm_runtime.engines.measuring"
_WARM_UP = 5


class Measurement(Struct, frozen=True):
    """One variant: its file, its loading, and a golden sample's inference through the whole signature."""

    variant: str
    file_bytes: int
    load_ms: float
    p50_ms: float
    p99_ms: float
    peak_rss_bytes: int
    runs: int


class _Failure(Struct, frozen=True):
    error: str


def measure(path: Path, variant_id: str, *, runs: int, threads: int) -> Measurement:
    """Measure in this process; `peak_rss_bytes` is of all that it ever held.

    Raises:
        EngineError: the engine is missing or failed.
    """
    with open_bundle(path) as source:
        variant = source.manifest.variant(variant_id)
        data = source.read(variant.blob)
        sample = golden.read_samples(source).input(0)
        start = time.perf_counter()
        model = load(variant, source.manifest.signature, data, threads=threads)
        load_s = time.perf_counter() - start
    seconds = np.empty(runs)
    for _ in range(_WARM_UP):
        model.run(sample)
    for index in range(runs):
        start = time.perf_counter()
        model.run(sample)
        seconds[index] = time.perf_counter() - start
    p50, p99 = np.percentile(seconds * 1e3, [50, 99])
    return Measurement(variant_id, len(data), load_s * 1e3, float(p50), float(p99), peak_rss_bytes(), runs)


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return the most memory that this program held; `ru_maxrss` only where Linux does not say.

    `ru_maxrss` survives `exec`: in a child it is at least what its parent held when it was started (getrusage(2)).
    """
    try:
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_in_child(path: Path, variant_id: str, *, runs: int, threads: int, timeout_s: float) -> Measurement:
    """Do what `measure` does in a fresh process.

    Raises:
        EngineError: the engine is missing, failed, crashed, or took longer than `timeout_s`.
    """
    command = [sys.executable, "-P", "-m", _MODULE, str(path), variant_id, str(runs), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as err:
        raise EngineError(f"{variant_id}: did not end within {timeout_s:g} s: use fewer --runs") from err
    try:
        last = done.stdout.splitlines()[-1]
        if done.returncode == 0:
            return msgspec.json.decode(last, type=Measurement)
        raise EngineError(f"{variant_id}: {msgspec.json.decode(last, type=_Failure).error}")
    except (IndexError, msgspec.DecodeError) as err:
        raise EngineError(f"{variant_id}: the measuring process ended with status {done.returncode}") from err


def main(argv: list[str] | None = None) -> int:
    """Run the child: measure, print a `Measurement`, return the exit status."""
    parser = argparse.ArgumentParser(prog=_MODULE, description="Measure one variant; used by `edgemm bench`.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("variant")
    parser.add_argument("runs", type=int)
    parser.add_argument("threads", type=int)
    options = parser.parse_args(argv)
    result: Measurement | _Failure
    try:
        result = measure(options.bundle, options.variant, runs=options.runs, threads=options.threads)
    except EdgemmError as err:
        result = _Failure(str(err))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    return int(isinstance(result, _Failure))


if __name__ == "__main__":
    sys.exit(main())
