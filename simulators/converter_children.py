"""Children of the converter that misbehave: `python -m simulators.converter_children FOLDER`.

The request says how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from simulators import needs

with needs.imports(__name__, "converter"):
    from edgemm.errors import InputError
    from edgemm_converter.children import childside
    from edgemm_converter.children.child import Progress
    from edgemm_converter.children.protocol import Message, SelfTestPassed, SelfTestRequest


def work(request: SelfTestRequest, folder: Path, progress: Progress) -> Message:
    progress(f"stage {request.bundle}")
    match request.bundle:
        case "passes":
            sys.stdout.write("a library's chatter\n")  # must not be taken for a stage
        case "refuses":
            raise InputError("the input is wrong")
        case "fails":
            raise ZeroDivisionError("seven by nought")
        case "is killed":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "fills memory":
            ballast = bytearray(400 * 2**20)
            ballast[::4096] = b"x" * len(ballast[::4096])
            threading.Event().wait()
        case "hangs with a child of its own":
            sleeper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
            (folder / "grandchild").write_text(str(sleeper.pid))
            progress("hanging")
            threading.Event().wait()
    return SelfTestPassed()


if __name__ == "__main__":
    childside.serve(SelfTestRequest, work)
