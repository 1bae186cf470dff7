"""The limits of stdout: characters that its encoding lacks, and anything at all where its disk or reader is gone."""

from __future__ import annotations

import errno
import io
import os
import sys

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def take_any_character() -> None:
    """Have stdout print the escape of what its encoding lacks, such as Chinese in Latin-1; stderr does so anyway."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def keep_place() -> None:
    """Where whoever started this process closed stdin, stdout or stderr, let no file that is opened later be it.

    What is printed on a stdout that is not there is then an error (`is_closed`), also where a library prints it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which this is
    if sys.stdout is None:
        sys.stdout = _Closed()


def is_there() -> bool:
    """Tell whether this process has a stdout."""
    return sys.stdout is not None and not isinstance(sys.stdout, _Closed)


def encoding() -> str:
    """Return what stdout encodes text in."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def require() -> None:
    """Refuse to print where whoever started this process closed its stdout.

    Raises:
        OSError: it did.
    """
    if not is_there():
        raise _ClosedError(errno.EBADF, "it is closed")


class _ClosedError(OSError):
    """There is no stdout."""


class _Closed(io.TextIOBase):
    """Stands for a stdout that is not there."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str) -> int:
        """Take nothing."""
        require()
        return len(text)


def is_closed(err: OSError) -> bool:
    """Tell whether an error is that of a stdout which is not there."""
    return isinstance(err, _ClosedError)


def reader_is_gone(err: OSError) -> bool:
    """Tell whether an error is that of a pipe whose reader went away, as in `edgemm … | head`."""
    return isinstance(err, BrokenPipeError)


def is_full(err: OSError) -> bool:
    """Tell whether an error is that of a full disk below stdout, and of no file that was opened by name."""
    return err.errno in _NO_ROOM and err.filename is None


def leave() -> None:
    """Print no more: what is left in the buffer would be tried again, and told by a traceback, at the end."""
    if is_there():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
