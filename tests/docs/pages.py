"""The repository's pages as tests see them: fenced blocks, tables and links, read by a CommonMark parser.

A comment `<!-- test: … -->` on the line above a block says how tests treat that block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_PARSER = MarkdownIt("commonmark").enable("table")
_MARKER = re.compile(r"<!-- test: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the marker above it, and where it begins."""

    language: str
    text: str
    marker: str | None
    page: Path
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Link:
    """One link of a page."""

    target: str
    page: Path


def pages() -> list[Path]:
    """Return every Markdown page of the repository that is for people."""
    folders = ["docs", "benchmarks", "simulators", "tests"]
    return [*sorted(ROOT.glob("*.md")), *(page for folder in folders for page in sorted((ROOT / folder).rglob("*.md")))]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, all or those of one language."""
    found, marker = [], None
    for token in _tokens(page):
        if token.type == "fence" and token.map:
            block = Block(token.info.strip(), token.content, marker, page, token.map[0] + 1)
            found.append(block)
        comment = _MARKER.search(token.content) if token.type == "html_block" else None
        marker = comment[1] if comment else None
    return [block for block in found if language in {None, block.language}]


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return each section's tables by the section's heading: rows of cells, without the header row."""
    found: dict[str, list[list[str]]] = {}
    heading, in_body = "", False
    tokens = _tokens(page)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            heading = token.content
        elif token.type in {"tbody_open", "tbody_close"}:
            in_body = token.type == "tbody_open"
        elif in_body and token.type == "tr_open":
            found.setdefault(heading, []).append([])
        elif in_body and before.type == "td_open":
            found[heading][-1].append(token.content)
    return found


def headings(page: Path) -> list[str]:
    """Return the headings of a page."""
    tokens = _tokens(page)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def anchor(heading: str) -> str:
    """Return the fragment under which a heading is linked."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path) -> Iterator[Link]:
    """Yield the links of a page."""
    for token in _tokens(page):
        for child in token.children or ():
            if child.type == "link_open":
                yield Link(str(child.attrGet("href")), page)


def _tokens(page: Path) -> list[Token]:
    return _PARSER.parse(page.read_text())
