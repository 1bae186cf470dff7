"""Children that misbehave: `python -m simulators.rough_children HOW [FILE]`, as `edgemm.child_process` starts them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "runtime"):
    from edgemm.child_process import own_stdout, reply
    from edgemm.errors import InputError

MODULE = "simulators.rough_children"
_SLEEPER = [sys.executable, "-S", "-c", "import signal; signal.pause()"]


def main(how: str, file: str = "") -> int:
    match how:
        case "ends":
            return 3
        case "is killed":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "floods":
            _flood(own_stdout(), 2**40)
        case "hangs":
            _start_a_child(file)
            ctypes.PyDLL(None).pause()  # as native code that never returns, and keeps Python from running
    return reply(lambda: _answer(how, file))


def _answer(how: str, file: str) -> object:
    match how:
        case "answers something else":
            return ["seven"]
        case "refuses":
            raise InputError("the input is wrong")
        case "fails":
            return 7 // 0
        case "says much":
            _flood(2, 2**23)
        case "waits for a word":
            return {"word": len(os.read(0, 100))}
        case "leaves a child behind":
            _start_a_child(file)
        case _:
            sys.stdout.write("a library's chatter\n")
    return {"seven": 7}


def _start_a_child(file: str) -> None:
    """Start a process that holds the pipes too, and tell both process ids."""
    sleeper = subprocess.Popen(_SLEEPER)
    Path(f"{file}.part").write_text(f"{os.getpid()} {sleeper.pid}")
    Path(f"{file}.part").rename(file)


def _flood(descriptor: int, count: int) -> None:
    for _ in range(count // 2**16):
        os.write(descriptor, b"x" * (2**16 - 1) + b"\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
