"""The import of what a user names as custom objects, in a child process: it runs code of the user's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from edgemm import library_errors
from edgemm.errors import InputError


class CustomObjects(NamedTuple):
    """A module that was imported, and the object of it that was named, by its name; none where all of it was."""

    module: ModuleType
    named: Mapping[str, Any]


def imported(named: Iterable[str], *, failures: tuple[type[Exception], ...]) -> list[CustomObjects]:
    """Import each `MODULE` or `MODULE:NAME`, also from the current folder; `failures` are what its code may raise.

    Raises:
        InputError: one of them cannot be imported.
    """
    wanted, found = tuple(named), list[CustomObjects]()
    if wanted:
        sys.path.insert(0, str(Path.cwd()))
    for text in wanted:
        module_name, _, attribute = text.partition(":")
        try:
            module = importlib.import_module(module_name)
            found.append(CustomObjects(module, {attribute: getattr(module, attribute)} if attribute else {}))
        except failures as err:
            raise InputError(f"--custom-objects {text}: cannot import it: {library_errors.quoted(err)}") from err
    return found
