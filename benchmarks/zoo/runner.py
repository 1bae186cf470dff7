"""One model through one route: build, convert, run, compare, each in a process with limits. Nothing heavy is imported.

A process over its time or memory is killed with all that it started. Results are JSON lines, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.zoo.models import DECLARED

ROUTES = {
    "edgemm": ("tflite", "onnx"),
    "tflite": ("tflite",),
    "litert": ("tflite",),
    "tf2onnx": ("onnx",),
    "keras-onnx": ("onnx",),
}
"""Route → the kinds of file that it makes."""


@dataclass(frozen=True)
class Limits:
    """What one process may take."""

    timeout_s: float = 900.0
    memory_bytes: int = 8 * 1024**3


@dataclass(frozen=True)
class Result:
    """How one model fared on one route to one target."""

    key: str
    route: str
    target: str
    status: str
    detail: str
    seconds: float
    peak_bytes: int
    error: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the last line that it said."""

    status: int
    said: str
    seconds: float
    peak_bytes: int


Run = Callable[[Sequence[str], Path], Ended]
"""Runs Python with some arguments; the folder is for what it says."""


def attempt(key: str, routes: Iterable[str], *, limits: Limits, run: Run | None = None) -> list[Result]:
    """Build a model once and take routes with it; one result for each target of each route.

    `run` is how a process is run where not by `limits`.
    """
    run = run or partial(_run, limits=limits)
    with tempfile.TemporaryDirectory(prefix="zoo-") as name:
        folder = Path(name)
        built = run(["-m", "benchmarks.zoo.build", key, name], folder)
        ways = [(route, target) for route in routes for target in ROUTES[route]]
        if not (folder / "built.json").is_file():
            return [_result(key, route, target, "cannot be built", built) for route, target in ways]
        return [_target(key, route, target, folder, run=run) for route, target in ways]


def _target(key: str, route: str, target: str, folder: Path, *, run: Run) -> Result:
    for left in ("model.edgemm", f"converted.{target}", f"checked-{target}.json"):
        (folder / left).unlink(missing_ok=True)
    ended = run(_command(route, target, folder), folder)
    if ended.status != 0:
        declared = DECLARED.get(key)
        refused = route == "edgemm" and declared is not None and declared in ended.said
        return _result(key, route, target, "refused as declared" if refused else "fails to convert", ended)
    run(["-m", "benchmarks.zoo.check", target, str(folder)], folder)
    checked = folder / f"checked-{target}.json"
    if not checked.is_file():
        return _result(key, route, target, "fails to run", ended)
    found = json.loads(checked.read_text())
    return Result(
        key, route, target, found["status"], found["detail"], round(ended.seconds, 1), ended.peak_bytes, found["error"]
    )


def _command(route: str, target: str, folder: Path) -> list[str]:
    if route != "edgemm":
        return ["-m", "benchmarks.zoo.attempt", route, str(folder)]
    built = json.loads((folder / "built.json").read_text())
    output = ["-o", str(folder / "model.edgemm"), "--name", "zoo", "--no-cache"]
    return ["-m", "edgemm", "convert", built["path"], "--target", target, "--no-cache", *output, *built["options"]]


def _result(key: str, route: str, target: str, status: str, ended: Ended) -> Result:
    return Result(key, route, target, status, ended.said, round(ended.seconds, 1), ended.peak_bytes)


def _run(arguments: Sequence[str], folder: Path, *, limits: Limits) -> Ended:
    started, peak, why = time.monotonic(), 0, ""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=Path.cwd(), stdout=said, stderr=said, start_new_session=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )  # fmt: skip
        try:
            while process.poll() is None:
                time.sleep(0.1)
                peak = max(peak, _resident(process.pid))
                if time.monotonic() - started > limits.timeout_s:
                    why = f"over {limits.timeout_s:g} s"
                elif peak > limits.memory_bytes:
                    why = f"over {limits.memory_bytes / 2**30:g} GiB"
                if why:
                    break
        finally:
            _end(process)
    seconds = time.monotonic() - started
    words = last_words((folder / "said").read_text(errors="replace"))
    return Ended(1 if why else process.returncode, why or words, seconds, peak)


def _resident(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(text: str) -> str:
    """Return the last line of what a process said."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:600] if lines else ""


def done(path: Path) -> list[Result]:
    """Return the results of an earlier run; a line that was cut short is left out."""
    if not path.is_file():
        return []
    results = []
    for line in path.read_text().splitlines():
        try:
            results.append(Result(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return results


def keep(path: Path, results: list[Result]) -> None:
    """Append results, each a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(result)) + "\n" for result in results)
