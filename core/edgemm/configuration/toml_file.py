"""TOML as a configuration: a bounded file read, its names looked up, values written. Pure, but for the reading."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgemm import plain_text
from edgemm.errors import InputError

MAX_BYTES = 64 * 1024
"""Largest configuration file."""


def read(path: Path) -> dict[str, Any]:
    """Return what a configuration file says.

    Raises:
        InputError: it cannot be read, is too large, or is no TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"{path}: cannot be read: {err.strerror or err}") from err
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: expected a configuration of at most {MAX_BYTES:,} bytes, found more")
    return parse(plain_text.read(data, name=str(path)), name=str(path))


def parse(text: str, *, name: str) -> dict[str, Any]:
    """Return what the text of a configuration says; `name` is what errors call it.

    Raises:
        InputError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise InputError(f"{name}: expected TOML: {err}") from err


def unknown(what: str, key: str, known: Iterable[str]) -> str:
    """Say that there is no such name, and which one is nearest."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
    return f"there is no {what} {key!r}; {hint}"


def written(value: object) -> str:
    """Return a value as TOML: a text or path, a number, a truth value, or a list of such."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(one) for one in value)}]"
    # TOML's basic strings have JSON's escapes, and need one for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
