"""The page of settings: every limit with its default and its meaning, as the code has them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator

import pytest

from edgemm_runtime.commands.configuration import DeviceConfiguration, parse_configuration
from tests.docs.pages import DOCS, blocks, tables

PAGE = DOCS / "configuration.md"
HEADINGS = {
    "serving": "Serving: `[serving]`",
    "agent": "The agent: `[agent]`",
    "shadow": "Shadows: `[shadow]`",
    "sequences": "Sequences: `[sequences]`",
}
BY_MACHINE = {
    "loops": "CPUs, at most 4",
    "memory_bytes": "a quarter of the memory, at most 268,435,456",
    "threads": "2 × CPUs, at least 4",
}
"""Defaults that follow from the machine."""


def rows_of(limits: object) -> Iterator[list[str]]:
    """Yield what the page's table says of a class of limits: name, default, first paragraph of the docstring."""
    body = ast.parse(inspect.getsource(type(limits))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            assert isinstance(after, ast.Expr), name
            assert isinstance(after.value, ast.Constant), name
            words = " ".join(str(after.value.value).split("\n\n", maxsplit=1)[0].split())
            yield [f"`{name}`", BY_MACHINE.get(name) or f"{getattr(limits, name):,}", words.replace("`", "")]


@pytest.mark.parametrize("table", HEADINGS)
def test_a_table_has_every_limit_as_the_code_has_it(table: str) -> None:
    limits = getattr(DeviceConfiguration(), table)
    wanted = list(rows_of(limits))
    assert [row[0].strip("`") for row in wanted] == [one.name for one in dataclasses.fields(limits)]
    found = [[cell.replace("`", "") for cell in row] for row in tables(PAGE)[HEADINGS[table]]]
    assert found == [[cell.replace("`", "") for cell in row] for row in wanted], "\n".join(
        f"| {' | '.join(row)} |" for row in wanted
    )


def test_the_example_is_a_configuration() -> None:
    examples = blocks(PAGE, "toml")
    assert examples
    for example in examples:
        assert parse_configuration(example.text, name=str(example)) != DeviceConfiguration()


def test_the_page_says_what_may_be_zero() -> None:
    from edgemm_runtime.commands.configuration import MAY_BE_ZERO

    sentence = re.search(r"0 is allowed for ([^.]*)\.", " ".join(PAGE.read_text().split()))
    assert sentence
    assert set(re.findall(r"`(\w+)`", sentence[1])) == MAY_BE_ZERO
