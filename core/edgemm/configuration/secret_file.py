"""A secret in a file or on stdin, in the place of a command line, which every user of a machine can see."""

from __future__ import annotations

import sys
from pathlib import Path

from edgemm import plain_text
from edgemm.errors import InputError

_MOST_BYTES = 4096
STDIN = Path("-")


def read_secret(file: Path, *, option: str) -> str:
    """Return the one word that a file holds; `-` is stdin.

    Raises:
        InputError: it cannot be read, or holds no word, or more than one.
    """
    try:
        if file == STDIN:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
    except OSError as err:
        raise InputError(f"{option} {file}: cannot be read: {err.strerror or err}") from err
    words = plain_text.read(data, name=str(file)).split() if len(data) <= _MOST_BYTES else []
    if len(words) != 1:
        raise InputError(f"{option} {file}: expected one word, as it was printed, and nothing else in it")
    return words[0]
