"""The runner of a conversion's child processes, with limits on their time and memory.

A model file is code, and an engine can crash on one, so neither runs in the user's process. The child is
`python -m MODULE FOLDER PARENT` in a session of its own. It reads `request.json`, prints the stages that it enters, and
writes `result.json` last.

The parent kills a child, with all its children, when it exceeds its time or memory, and when the parent itself is
interrupted. If the parent is killed, the kernel kills the child (`end_with_parent`). Memory is the resident set, which
is polled: a limit of the address space breaks TensorFlow, which maps far more than it uses.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from edgemm import errors
from edgemm.errors import ConversionError, EdgemmError, EnvironmentFailure
from edgemm_converter.children.protocol import REQUEST, RESULT, Answer, Failed, Message

NO_ROOM = 74
"""Exit status of a child that cannot even write down what went wrong, since the disk is full."""

_LEAST_ROOM_BYTES = 64 * 1024
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ChildLimits:
    """How much a child process may take."""

    timeout_s: float = 3600.0
    """Wall time of one child; a large model with many calibration samples takes minutes."""

    max_memory_bytes: int = 16 * 1024**3
    """Resident memory of one child; tf2onnx is known to take 24 GB for VGG16."""


def run_child(module: str, request: Message, *, folder: Path, limits: ChildLimits, progress: Progress) -> Answer:
    """Run one request in a child process and return its answer.

    Raises:
        EdgemmError: what the child answered; always of the tree in `edgemm.errors`.
        ConversionError: it crashed, or went over a limit.
        EnvironmentFailure: no process can be started, or the temporary folder is full.
    """
    (folder / RESULT).unlink(missing_ok=True)
    try:
        (folder / REQUEST).write_bytes(msgspec.json.encode(request))
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                start_new_session=True, env=_environment(folder),
            )  # fmt: skip
    except OSError as err:
        raise EnvironmentFailure(f"cannot start the conversion in {folder}: {err.strerror or err}") from err
    try:
        stage = _watch(process, limits=limits, progress=progress)
    finally:
        _kill(process)
    return _answer(process, folder, stage=stage)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, whose process id is given, dies; a child's first act."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",  # the CPU is what devices have; a GPU gives other figures
        "KERAS_BACKEND": "tensorflow",
        "PYTHONHASHSEED": "0",  # tf2onnx names and orders constants as its sets do
        "TF_CPP_MIN_LOG_LEVEL": "2",  # errors alone on stderr
        "TMPDIR": str(folder),  # a child that is killed cannot clear up after itself; this folder goes in any case
    }


def _watch(process: subprocess.Popen[bytes], *, limits: ChildLimits, progress: Progress) -> str:
    """Follow a child until it closes its stdout; return the last stage that it entered."""
    assert process.stdout is not None
    deadline, stage = time.monotonic() + limits.timeout_s, "starting"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while process.poll() is None or selector.get_map():
            if not selector.get_map():
                _wait_a_little(process)
            elif selector.select(_POLL_S):
                lines = _read(process.stdout)
                if lines is None:
                    selector.unregister(process.stdout)
                for stage in lines or ():
                    progress(stage)
            _check_limits(process, limits, stage=stage, late=time.monotonic() > deadline)
    return stage


def _wait_a_little(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_POLL_S)


def _check_limits(process: subprocess.Popen[bytes], limits: ChildLimits, *, stage: str, late: bool) -> None:
    if late:
        raise ConversionError(
            f"{stage}: not done after {limits.timeout_s:g} s and stopped: raise --timeout or convert less at once"
        )
    if (found := _resident_bytes(process.pid)) > limits.max_memory_bytes:
        raise ConversionError(
            f"{stage}: took {found / 2**30:.1f} GiB of memory, the limit is {limits.max_memory_bytes / 2**30:.1f} GiB, "
            "and was stopped: raise --max-memory or convert fewer variants at once"
        )


def _read(stdout: IO[bytes]) -> list[str] | None:
    data = os.read(stdout.fileno(), 65536)
    return data.decode(errors="replace").splitlines() if data else None


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started, which share its session's process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _answer(process: subprocess.Popen[bytes], folder: Path, *, stage: str) -> Answer:
    path = folder / RESULT
    if not path.is_file():
        code = process.returncode
        # Libraries report a full disk in their own ways, or write half a file and fail on reading it.
        if code == NO_ROOM or shutil.disk_usage(folder).free < _LEAST_ROOM_BYTES:
            raise EnvironmentFailure(
                f"cannot work in the temporary folder {folder}: the disk is full; make room there, or set TMPDIR to "
                "another"
            )
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        raise ConversionError(f"{stage}: the child process {how}; its last words: {_last_words(folder)}")
    answer: Answer = msgspec.json.decode(path.read_bytes(), type=Answer)
    if isinstance(answer, Failed):
        raise _error(answer)
    return answer


def _last_words(folder: Path) -> str:
    text = (folder / "stderr").read_bytes()[-20_000:].decode(errors="replace")
    lines = [" ".join(line.split())[:300] for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "none"


def _error(failed: Failed) -> EdgemmError:
    kind = getattr(errors, failed.error, None)
    if isinstance(kind, type) and issubclass(kind, EdgemmError):
        return kind(failed.message)
    return ConversionError(failed.message)
