"""Docstrings speak of classes by the names that they have now."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("core", "converter", "runtime", "fleet", "demo", "simulators", "benchmarks", "tests", "examples")
SOURCES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
CODE = (ast.Import, ast.ImportFrom, ast.With, ast.For, ast.Assign, ast.FunctionDef, ast.ClassDef, ast.Assert)


def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def paragraphs(path: str) -> list[str]:
    """Return what follows the first paragraph of a module's docstring."""
    return (ast.get_docstring(tree_of(path), clean=False) or "").split("\n\n")[1:]


def is_code(paragraph: str) -> bool:
    """Tell whether a paragraph is an example: the formatter sets it apart only where prose follows."""
    if paragraph.lstrip("\n").startswith("    ") or re.match(r"(def|class|with|for) .*:\n", paragraph):
        return True
    try:
        body = ast.parse(paragraph.replace("…", "...")).body
    except SyntaxError:
        return False
    return any(
        isinstance(node, CODE) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) for node in body
    )


@pytest.fixture(scope="module")
def defined() -> set[str]:
    """Return every class, and other name that starts like one, that the code has or imports."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.ImportFrom):
                found.update(alias.asname or alias.name for alias in node.names)
    return found


def test_examples_name_classes_that_are_there(defined: set[str]) -> None:
    unknown = []
    for path in SOURCES:
        for text in paragraphs(path):
            if is_code(text):
                made = re.findall(r"\b([A-Z][a-z]+(?:[A-Z][a-z]+)*)\(", text)
                unknown += [(path, name) for name in made if name not in defined]
    assert unknown == []


def test_docstrings_speak_of_classes_that_are_there(defined: set[str]) -> None:
    """Fields of the kernel's files aside."""
    unknown = []
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                named = re.findall(
                    r"`(?:[a-z_]+\.)*([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\.\w+)?(?:\(\))?`", node.value.value
                )
                unknown += [(path, name) for name in named if name not in {*defined, "MemAvailable"}]
    assert unknown == []
