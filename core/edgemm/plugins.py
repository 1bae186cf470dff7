"""Additions to edgemm's tables by other installed packages: Python's entry points, found once and loaded when used.

    entry_points = {"edgemm.engines": {"toy": "toy_engine:FACTS"}}      # in the package that brings the engine

A group is one table; an entry's name is the key, and what it points to is the value. Entry points hold in every process
of an environment, so the child processes that convert, test and measure have the same tables. What edgemm itself brings
cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgemm.errors import EnvironmentFailure

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@cache
def registered(group: str) -> Mapping[str, EntryPoint]:
    """Return the entries of a table that other packages bring, by name; nothing is imported.

    Looked up once: it reads a file of each installed package, about 0.03 ms for each.
    """
    from importlib.metadata import entry_points

    return MappingProxyType({entry.name: entry for entry in entry_points(group=group)})


@cache
def load(group: str, name: str) -> Any:
    """Import what an entry points to; None where no package brings it.

    Raises:
        EnvironmentFailure: it does not import.
    """
    entry = registered(group).get(name)
    if entry is None:
        return None
    try:
        return entry.load()
    except (ImportError, AttributeError) as err:
        package = entry.dist.name if entry.dist is not None else entry.value
        raise EnvironmentFailure(
            f"{package}: its entry {name!r} of {group}, {entry.value}, does not import ({err}): reinstall or remove it"
        ) from err
