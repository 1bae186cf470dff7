"""Prints a table: each case, and what became of it, for all cases or for those whose names hold one of the words.

Each is computed in a child process, which may take 2 GiB of memory and 10 seconds. Only what answers or raises is no
danger to a server.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "onnx,runtime"):
    from simulators.fatal_values import litert, onnx_runtime
    from simulators.fatal_values.case import Case

_MORE_BYTES = 2 * 2**30
_SECONDS = 10
_LARGE_BYTES = 200 * 2**20
"""What no case takes but for a length that a client gave."""
_WORDS = 100


def outcome(case: Case, compute: Callable[[Case], str]) -> str:
    """Return what becomes of a process that computes a case: `answers`, `raises`, `dies` or `takes` memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _limit()
        try:
            words = f"answers {compute(case)}"
        except Exception as err:  # noqa: BLE001
            words = f"raises {type(err).__name__}: {err}"
        os.write(writer, words[:2000].encode(errors="replace"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        words = pipe.read().decode(errors="replace")
    _, status, used = os.wait4(child, 0)
    took = used.ru_maxrss * 1024
    if os.WIFSIGNALED(status):
        return f"DIES of {signal.Signals(os.WTERMSIG(status)).name}"
    if not words:
        return f"DIES with status {os.waitstatus_to_exitcode(status)}"
    return f"TAKES {took >> 20} MiB, {words}" if took > _LARGE_BYTES else words


def _limit() -> None:
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MORE_BYTES, size + _MORE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_SECONDS)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main(words: list[str]) -> None:
    """Print the table."""
    for engine, cases, compute in (
        ("ONNX Runtime", onnx_runtime.cases(), onnx_runtime.compute), ("LiteRT", litert.cases(), litert.compute)
    ):  # fmt: skip
        for name, case in cases.items():
            title = f"{engine} {name}"
            if not words or any(word in title for word in words):
                sys.stdout.write(f"{title:52} {' '.join(outcome(case, compute).split())[:_WORDS]}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
