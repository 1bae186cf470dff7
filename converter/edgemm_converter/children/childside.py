"""The child's side of a conversion's child processes: reads the request, announces stages, writes one answer."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from edgemm import library_errors
from edgemm.child_process import own_stdout
from edgemm.errors import EdgemmError
from edgemm_converter.children.child import LEAST_ROOM_BYTES, NO_ROOM, Progress, cannot_work_in
from edgemm_converter.children.protocol import REQUEST, RESULT, Failed, Message

R = TypeVar("R")


def serve(kind: type[R], work: Callable[[R, Path, Progress], Message]) -> None:
    """Answer the one request that lies in the folder named by the command line; errors become the answer.

    Of what nobody expects, the answer is one line with its stage and reason; the traceback goes to stderr.
    """
    library_errors.follow_parent()
    folder = Path(sys.argv[1])
    announce = _Announcer()
    sys.excepthook = partial(_unexpected, folder, announce)
    request: R = msgspec.msgpack.decode((folder / REQUEST).read_bytes(), type=kind)
    answer: Message
    try:
        answer = work(request, folder, announce)
    except EdgemmError as err:
        answer = Failed(error=type(err).__name__, message=str(err))
    except MemoryError:
        answer = Failed(error="ConversionError", message="out of memory: convert fewer variants at once")
    except OSError as err:
        answer = Failed(error="EnvironmentFailure", message=cannot_work_in(folder, err))
    _write(answer, folder)


def _write(answer: Message, folder: Path) -> None:
    temporary = folder / f"{RESULT}.part"
    try:
        temporary.write_bytes(msgspec.msgpack.encode(answer))
        temporary.replace(folder / RESULT)
    except OSError as err:
        sys.exit(NO_ROOM if err.errno in (errno.ENOSPC, errno.EDQUOT) else 1)


class _Announcer:
    """Tells the parent each stage as it begins; `stage` is the last."""

    def __init__(self) -> None:
        self._pipe, self.stage = own_stdout(), "starting"

    def __call__(self, stage: str) -> None:
        self.stage = stage
        os.write(self._pipe, f"{stage}\n".encode())


def _unexpected(
    folder: Path, announce: _Announcer, kind: type[BaseException], err: BaseException, trace: TracebackType | None
) -> None:
    """Answer what no part of the work knows, in place of Python's own last words.

    Not on a full disk, of which libraries speak in their own ways: the parent finds that out where there is no answer.
    """
    traceback.print_exception(kind, err, trace)
    if shutil.disk_usage(folder).free < LEAST_ROOM_BYTES:
        return
    library_errors.note(err)
    found = library_errors.failure(err)
    what = f": {found.words()}" if found.operation else " in a way that edgemm does not know"
    message = f"{announce.stage}: a library failed{what}; report it with the model and what --verbose prints"
    _write(Failed(error="ConversionError", message=message), folder)
