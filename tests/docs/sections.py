"""Checks that more than one page needs: a section for each Struct, the values of each enum."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from tests.docs.pages import tables
from tests.docs.structs import rows


def structs(module: ModuleType) -> list[type[Struct]]:
    """Return the public Structs that a module, or a package with its modules, defines and that have fields."""
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Struct)]
    return [
        kind
        for kind in found
        if f"{kind.__module__}.".startswith(f"{module.__name__}.")
        and not kind.__name__.startswith("_")
        and kind.__struct_fields__
    ]


def check_struct(page: Path, kind: type[Struct]) -> None:
    """Assert that the section of a Struct names each field with its type and default, and says what it means."""
    said = tables(page).get(kind.__name__)
    assert said is not None, (
        f"{page.name} has no section {kind.__name__}: python -m tests.docs.structs prints its table"
    )
    assert [row[:3] for row in said] == rows(kind)
    assert all(row[3] for row in said)


def check_enum(page: Path, kind: type[Enum]) -> None:
    """Assert that the section of an enum lists its values in order, and no other."""
    text = page.read_text().partition(f"\n### {kind.__name__}\n\n")[2].partition(".\n")[0]
    assert " ".join(text.split()) == ", ".join(f"`{member.value}`" for member in kind)
