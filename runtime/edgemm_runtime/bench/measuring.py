"""The measurement of one model file: its speed and memory on this machine, in a process of its own.

The child is `python -m edgemm_runtime.bench.measuring`, an `edgemm.child_process`. Nothing of it ever enters a
manifest: speed belongs to a machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct

from edgemm.child_process import ChildAnswerError, ChildCrashError, ChildTimeoutError, ChildWorkError, ask, reply
from edgemm.errors import EdgemmError, EngineError
from edgemm_runtime.bench.subject import Subject, of_bundle, of_file

_MODULE = "edgemm_runtime.bench.measuring"
_WARM_UP = 5
_BUSY_S = 0.5
"""How long as many inferences as fit into the CPUs run at once."""
PLAIN = "file"
"""In place of a variant: the path is that of a plain model file."""


class Measurement(Struct, frozen=True):
    """One model file with so many threads an inference.

    Of a variant it is a golden sample's inference through the whole signature, of a plain file the engine alone.
    """

    variant: str
    threads: int
    file_bytes: int
    load_ms: float
    p50_ms: float
    p99_ms: float
    at_once: int
    """Inferences at a time, as many as the CPUs have room for."""
    per_second: float
    """All of them together."""
    pss_bytes: int | None
    """What the whole process has in memory afterwards, its share of what it shares; None where Linux does not say."""
    peak_rss_bytes: int
    runs: int


def measure(path: Path, variant_id: str, *, runs: int, threads: int) -> Measurement:
    """Measure in this process; `peak_rss_bytes` is of all that it ever held.

    Raises:
        EngineError: the engine is missing or failed.
    """
    subject = of_file(path, threads=threads) if variant_id == PLAIN else of_bundle(path, variant_id, threads=threads)
    p50_ms, p99_ms = np.percentile(_latencies_ms(subject.run, runs), [50, 99])
    at_once = max(1, (os.cpu_count() or 1) // threads)
    per_second = _per_second(subject, at_once)
    return Measurement(
        variant=subject.name,
        threads=threads,
        file_bytes=subject.file_bytes,
        load_ms=subject.load_ms,
        p50_ms=float(p50_ms),
        p99_ms=float(p99_ms),
        at_once=at_once,
        per_second=per_second,
        pss_bytes=pss_bytes(),
        peak_rss_bytes=peak_rss_bytes(),
        runs=runs,
    )


def _latencies_ms(run: Callable[[], object], runs: int) -> list[float]:
    for _ in range(_WARM_UP):
        run()
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def _per_second(subject: Subject, at_once: int) -> float:
    """Run inferences in so many threads for a while, each at least one."""
    subject.grow(at_once)
    counts, failures = [0] * at_once, list[EdgemmError]()
    begun_s = time.perf_counter()

    def work(index: int) -> None:
        try:
            while not counts[index] or time.perf_counter() < begun_s + _BUSY_S:
                subject.run()
                counts[index] += 1
        except EdgemmError as err:
            failures.append(err)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - begun_s)


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return the most memory that this program held; `ru_maxrss` only where Linux does not say.

    `ru_maxrss` survives `exec`: in a child it is at least what its parent held when it was started (getrusage(2)).
    """
    found = _kilobytes(status, "VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if found is None else found


def pss_bytes(rollup: Path = Path("/proc/self/smaps_rollup")) -> int | None:
    """Return this process's proportional set size (proc_pid_smaps(5)); None where Linux does not say."""
    return _kilobytes(rollup, "Pss")


def _kilobytes(path: Path, field: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    except OSError:
        pass
    return None


def measure_in_child(path: Path, variant_id: str, *, runs: int, threads: int, timeout_s: float) -> Measurement:
    """Do what `measure` does in a fresh process.

    Raises:
        EngineError: the engine is missing, failed, crashed, or took longer than `timeout_s`.
    """
    name = path.name if variant_id == PLAIN else variant_id
    arguments = [str(path), variant_id, str(runs), str(threads)]
    try:
        return ask(_MODULE, arguments, answer=Measurement, timeout_s=timeout_s)
    except ChildTimeoutError as err:
        raise EngineError(f"{name}: did not end within {timeout_s:g} s: use fewer --runs") from err
    except (ChildCrashError, ChildAnswerError) as err:
        raise EngineError(f"{name}: the measuring process ended with status {err.status}") from err
    except ChildWorkError as err:
        raise EngineError(f"{name}: {err}") from err


def main(argv: list[str] | None = None) -> int:
    """Run the child: measure, tell the parent, return the exit status."""
    parser = argparse.ArgumentParser(prog=_MODULE, description="Measure one model file; used by `edgemm bench`.")
    parser.add_argument("path", type=Path)
    parser.add_argument("variant")
    parser.add_argument("runs", type=int)
    parser.add_argument("threads", type=int)
    options = parser.parse_args(argv)
    return reply(lambda: measure(options.path, options.variant, runs=options.runs, threads=options.threads))


if __name__ == "__main__":
    sys.exit(main())
