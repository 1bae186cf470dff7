"""The child's side of a conversion's child processes: reads the request, announces stages, writes one answer."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from edgemm.child_process import own_stdout
from edgemm.errors import EdgemmError
from edgemm_converter.children.child import NO_ROOM, Progress
from edgemm_converter.children.protocol import REQUEST, RESULT, Failed, Message

R = TypeVar("R")


def serve(kind: type[R], work: Callable[[R, Path, Progress], Message]) -> None:
    """Answer the one request that lies in the folder named by the command line; known errors become the answer.

    Whatever else is raised ends the process with a traceback on stderr, of which the parent shows the end.
    """
    folder = Path(sys.argv[1])
    announce = _announcer()
    request: R = msgspec.json.decode((folder / REQUEST).read_bytes(), type=kind)
    answer: Message
    try:
        answer = work(request, folder, announce)
    except EdgemmError as err:
        answer = Failed(error=type(err).__name__, message=str(err))
    except MemoryError:
        answer = Failed(error="ConversionError", message="out of memory: convert fewer variants at once")
    except OSError as err:
        answer = Failed(error="EnvironmentFailure", message=f"cannot work in {folder}: {err.strerror or err}")
    temporary = folder / f"{RESULT}.part"
    try:
        temporary.write_bytes(msgspec.json.encode(answer))
        temporary.replace(folder / RESULT)
    except OSError as err:
        sys.exit(NO_ROOM if err.errno in (errno.ENOSPC, errno.EDQUOT) else 1)


def _announcer() -> Progress:
    pipe = own_stdout()

    def announce(stage: str) -> None:
        os.write(pipe, f"{stage}\n".encode())

    return announce
