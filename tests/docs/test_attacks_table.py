"""The table of attacks in the threat model and the live suite: each has what the other has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCS, ROOT, tables

SUITE = ROOT / "tests" / "e2e" / "attacks"
TABLE = tables(DOCS / "threat-model.md")["Attacks that are tried"]


def _tests() -> Iterator[tuple[str, Path, ast.FunctionDef]]:
    for path in SUITE.glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name, path, node


def _named() -> dict[str, list[str]]:
    """Return the rows of the table by the name of their test."""
    links = [re.fullmatch(r"\[`(\w+)`\]\(\.\./(.+)\)", row[-1]) for row in TABLE]
    assert all(links), "a row that names no test"
    return {link[1]: row for link, row in zip(links, TABLE, strict=True) if link is not None}


def test_every_row_names_a_test_of_the_suite_and_every_test_has_a_row() -> None:
    assert {name: str(path.relative_to(ROOT)) for name, path, _ in _tests()} == {
        name: row[-1].partition("(../")[2].rstrip(")") for name, row in _named().items()
    }


def test_every_row_says_all_that_its_columns_ask() -> None:
    assert len({row[0] for row in TABLE}) == len(TABLE), "a class stands twice"
    assert all(all(cell for cell in row) for row in TABLE)


def test_what_does_not_hold_yet_is_said_where_the_suite_expects_it_to_fail() -> None:
    rows = _named()
    awaited = {
        node.targets[0].id  # the name of a mark at the head of a module
        for path in SUITE.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and "xfail" in ast.unparse(node.value)
    }
    for name, _, node in _tests():
        marks = {ast.unparse(mark) for mark in node.decorator_list}
        assert ("not yet" in " ".join(rows[name])) == bool(marks & awaited), name
