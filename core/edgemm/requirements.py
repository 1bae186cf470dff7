"""Restrictions that a reader must understand: `requires`, a list of names beside what they restrict.

A reader ignores a field that it does not know, which is wrong for a field that restricts: a window, a gate, a consent,
what may be captured. A later edgemm that adds one writes its name into `requires` of the same item as well. A reader
that does not know a name refuses that item alone: nothing starts, nothing is captured, what runs goes on, and the
reason names it. A reader that knows a name and does not find the field refuses the item too: an older one in between
may have dropped it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from edgemm import __version__

UNDERSTOOD: frozenset[str] = frozenset()
"""The names that this edgemm obeys in every item; what a kind of item has besides, its reader names (`obeyed`)."""

RequiredNames = Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=32)]
"""What `requires` holds."""


def unknown(requires: Iterable[str] | UnsetType, obeyed: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names that this edgemm does not know, sorted; `obeyed` are those whose fields the item has."""
    return () if requires is UNSET else tuple(sorted(set(requires) - UNDERSTOOD - set(obeyed)))


def refusal(names: Iterable[str]) -> str:
    """Say what is wrong with an item that needs more than this edgemm knows."""
    return f"needs {', '.join(names)}, which edgemm {__version__} does not know: upgrade it"
