"""docs/filters.md shows filters that are read, words that there are, and errors as they are printed."""

from __future__ import annotations

import json
import re

import click
import pytest

from edgemm_fleet.commands.filter_options import EXAMPLE, selected
from edgemm_fleet.filters import MAX_BYTES, parse, written
from edgemm_fleet.filters.expressions import WORDS
from edgemm_fleet.filters.grammar import MAX_DEPTH, MAX_TERMS
from tests.docs.commands import commands
from tests.docs.pages import DOCS, ROOT, blocks, tables

PAGE = DOCS / "filters.md"
TEXT = PAGE.read_text()
TERMS = [row[0] for row in tables(PAGE)["Terms"]]
PAGES = [ROOT / "README.md", *DOCS.rglob("*.md")]
SHOWN = [
    (page.name, arguments)
    for page in PAGES
    for block in blocks(page)
    if block.language == "bash"
    for arguments in commands(block)
    if "--where" in arguments
]


@pytest.mark.parametrize("cell", TERMS)
def test_each_term_of_the_table_is_read_as_it_is_written(cell: str) -> None:
    term = cell.strip("`")
    assert written(parse(term, model="digits")) == term


def test_the_table_has_every_word() -> None:
    found = {match[0] for term in TERMS if (match := re.match(r"\w+", term.strip("`")))}
    assert found >= WORDS


@pytest.mark.parametrize(("page", "arguments"), SHOWN)
def test_each_command_that_is_shown_has_a_filter_that_is_read(page: str, arguments: list[str]) -> None:
    where = [arguments[index + 1] for index, one in enumerate(arguments) if one == "--where"]
    model = arguments[3] if arguments[1] in {"rollout", "shadow"} else None
    assert str(selected(where, model=model)) != "all devices"


def test_the_filters_of_the_other_blocks_are_read() -> None:
    [document] = [json.loads(block.text) for block in blocks(PAGE, "json")]
    parse(document["selector"]["where"], model=document["model"])
    _, of_which_model = [block for block in blocks(PAGE) if block.language == ""]
    for line in of_which_model.text.splitlines():
        parse(line)
    parse(EXAMPLE.strip("'"), model="digits")


def test_the_error_is_printed_as_the_page_has_it() -> None:
    [block] = blocks(PAGE, "console")
    command, *printed = block.text.rstrip().splitlines()
    with pytest.raises(click.UsageError) as caught:
        selected([command.split("'")[1]])
    assert f"Error: {caught.value.format_message()}".splitlines() == printed


def test_the_limits_are_those_of_the_code() -> None:
    flat = " ".join(TEXT.split())
    assert f"at most {MAX_BYTES:,} bytes and {MAX_TERMS} terms, and is nested at most {MAX_DEPTH} deep" in flat
