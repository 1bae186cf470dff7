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


def encoding() -> str:
    """Return what stdout encodes text in."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def reader_is_gone(err: OSError) -> bool:
    """Tell whether an error is that of a pipe whose reader went away, as in `edgemm … | head`."""
    return isinstance(err, BrokenPipeError)


def is_full(err: OSError) -> bool:
    """Tell whether an error is that of a full disk below stdout, and of no file that was opened by name."""
    return err.errno in _NO_ROOM and err.filename is None


def leave() -> None:
    """Print no more: what is left in the buffer would be tried again, and told by a traceback, at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
