"""The redirection of an engine's native log: the INFO lines that it writes to stderr go to `logging` instead.

It is in effect while a model is loaded. LiteRT names neither a variable nor a call that silences its first line
("Created TensorFlow Lite XNNPACK delegate"), so file descriptor 2 is led into memory meanwhile. The descriptor belongs
to the whole process, so one thread at a time may do this. Lines that are not an engine's INFO lines, such as another
thread's log, are written to stderr right after.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO

_log = logging.getLogger(__name__)
_REDIRECTING = threading.Lock()  # file descriptor 2 is one for all threads
_STDERR = 2
_INFO = b"INFO: "


@contextmanager
def in_the_log() -> Iterator[None]:
    """Log an engine's INFO lines at DEBUG; everything else reaches stderr when the block ends."""
    with _REDIRECTING, ExitStack() as stack:
        try:
            stderr = os.dup(_STDERR)
            stack.callback(os.close, stderr)
            written = stack.enter_context(_memory())
        except OSError:  # a daemon may have closed it, or too many files are open: a model loads all the same
            yield
            return
        try:
            os.dup2(written.fileno(), _STDERR)
            yield
        finally:
            os.dup2(stderr, _STDERR)
            written.seek(0)
            _pass_on(written.read())


def _pass_on(written: bytes) -> None:
    rest = b""
    for line in written.splitlines(keepends=True):
        if line.startswith(_INFO):
            _log.debug("engine says %s", line.removeprefix(_INFO).decode(errors="replace").rstrip())
        else:
            rest += line
    # A log that nobody takes any more must not fail a model that loads.
    with suppress(OSError), open(_STDERR, "wb", closefd=False) as stderr:
        stderr.write(rest)


def _memory() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgemm-stderr"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
