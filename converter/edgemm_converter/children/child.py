"""The runner of a conversion's child processes, with limits on their time and memory.

A model file is code, and an engine can crash on one, so neither runs in the user's process. The child is
`python -m MODULE FOLDER`, an `edgemm.child_process`. It reads `request.msgpack`, prints the stages that it enters, and
writes `result.msgpack` last.

The parent kills a child, with all its children, when it exceeds its time or memory. Memory is the resident set, which
is polled: a limit of the address space breaks TensorFlow, which maps far more than it uses.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from edgemm.child_process import PIPE, ChildProcess, ChildStartError, ChildTimeoutError, known_error, signal_name
from edgemm.errors import ConversionError, EnvironmentFailure
from edgemm_converter.children.protocol import REQUEST, RESULT, Failed, Message

NO_ROOM = 74
"""Exit status of a child that cannot even write down what went wrong, since the disk is full."""

LEAST_ROOM_BYTES = 64 * 1024
"""With less free, a disk counts as full."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NO_VARIABLES: Mapping[str, str] = {}
Progress = Callable[[str], None]
A = TypeVar("A", bound=Message)


def all_refused(reasons: Iterable[ConversionError | str]) -> ConversionError:
    """Return the error of a conversion of which no variant is left: it gives every reason once."""
    return ConversionError("; and ".join(dict.fromkeys(map(str, reasons))))


@dataclass(frozen=True)
class ChildLimits:
    """How much a child process may take."""

    timeout_s: float = 3600.0
    """Wall time of one child; a large model with many calibration samples takes minutes."""

    max_memory_bytes: int = 16 * 1024**3
    """Resident memory of one child; tf2onnx is known to take 24 GB for VGG16."""


def run_child(
    module: str,
    request: Message,
    *,
    answer: type[A],
    folder: Path,
    limits: ChildLimits,
    progress: Progress,
    variables: Mapping[str, str] = _NO_VARIABLES,
) -> A:
    """Run one request in a child process, with more variables of its environment, and return its answer.

    Raises:
        EdgemmError: what the child answered; always of the tree in `edgemm.errors`.
        ConversionError: it crashed, or went over a limit.
        EnvironmentFailure: no process can be started, or the temporary folder is full.
    """
    (folder / RESULT).unlink(missing_ok=True)
    try:
        (folder / REQUEST).write_bytes(msgspec.msgpack.encode(request))
    except OSError as err:
        raise _cannot_start(folder, err.strerror or str(err)) from err
    try:
        child = ChildProcess(
            module, [str(folder)], stdout=PIPE, stderr=PIPE, environment={**_environment(folder), **variables}
        )
    except ChildStartError as err:
        raise _cannot_start(folder, err.reason) from err
    watch = _Watch(child, limits, progress)
    with child:
        try:
            status = child.follow(timeout_s=limits.timeout_s, received=watch.received, look=watch.check_memory)
        except ChildTimeoutError as err:
            raise ConversionError(
                f"{watch.stage}: not done after {limits.timeout_s:g} s and stopped: raise --timeout or convert less "
                "at once"
            ) from err
    return _answer(answer, folder, status=status, stage=watch.stage)


def _cannot_start(folder: Path, reason: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"cannot start the conversion in {folder}: {reason}")


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",  # the CPU is what devices have; a GPU gives other figures
        "KERAS_BACKEND": "tensorflow",
        "PYTHONHASHSEED": "0",  # tf2onnx names and orders constants as its sets do
        "TF_CPP_MIN_LOG_LEVEL": "2",  # errors alone on stderr
        "TMPDIR": str(folder),  # a child that is killed cannot clear up after itself; this folder goes in any case
    }


class _Watch:
    """Tells what a child does, and puts an end to one that takes too much memory; `stage` is the last it entered."""

    def __init__(self, child: ChildProcess, limits: ChildLimits, progress: Progress) -> None:
        self._child, self._limits, self._progress = child, limits, progress
        self.stage = "starting"

    def received(self, data: bytes) -> None:
        """Tell of the stages that it entered."""
        for self.stage in data.decode(errors="replace").splitlines():
            self._progress(self.stage)

    def check_memory(self) -> None:
        """Look at its memory.

        Raises:
            ConversionError: it has too much.
        """
        most = self._limits.max_memory_bytes
        if (found := _resident_bytes(self._child.pid)) > most:
            raise ConversionError(
                f"{self.stage}: took {found / 2**30:.1f} GiB of memory, the limit is {most / 2**30:.1f} GiB, "
                "and was stopped: raise --max-memory or convert fewer variants at once"
            )


def cannot_work_in(folder: Path | str, err: OSError | str) -> str:
    """Return what to say where a temporary folder cannot be written to, and what to do about it."""
    reason = err if isinstance(err, str) else err.strerror or "a file could not be written whole"  # NumPy's has none
    return f"cannot work in the temporary folder {folder}: {reason}; make room there, or set TMPDIR to another"


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def _answer(kind: type[A], folder: Path, *, status: int, stage: str) -> A:
    path = folder / RESULT
    if not path.is_file():
        # Libraries report a full disk in their own ways, or write half a file and fail on reading it.
        if status == NO_ROOM or shutil.disk_usage(folder).free < LEAST_ROOM_BYTES:
            raise EnvironmentFailure(cannot_work_in(folder, "the disk is full"))
        how = f"was killed by {signal_name(status)}" if status < 0 else f"ended with exit status {status}"
        raise ConversionError(
            f"{stage}: a library crashed on this model and took its process along, which {how}: leave out what that "
            "stage works on, or report it with the model and what --verbose prints"
        )
    found: A | Failed = msgspec.msgpack.decode(path.read_bytes(), type=kind | Failed)
    if isinstance(found, Failed):
        raise known_error(found.error, found.message, otherwise=ConversionError)
    return found
