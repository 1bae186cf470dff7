"""The glossary: one sentence a word, and a file that owns it."""

import re

import pytest

from tests.docs.pages import DOCS, ROOT, tables

PAGE = DOCS / "glossary.md"
ROWS = tables(PAGE)["Glossary"]
MAX_SENTENCE = 160


def test_words_stand_in_order_and_once() -> None:
    words = [row[0] for row in ROWS]
    assert words == sorted(set(words))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_word_has_one_sentence_and_an_owner_that_speaks_of_it(row: list[str]) -> None:
    word, meaning, owner = row
    assert re.fullmatch(r"[A-Z][^.!?]*\.", meaning), meaning
    assert len(meaning) <= MAX_SENTENCE
    link = re.fullmatch(r"\[`(.+)`\]\((.+)\)", owner)
    assert link is not None, owner
    name, target = link.groups()
    path = (DOCS / target).resolve()
    assert path.is_relative_to(ROOT)
    assert path.name == name
    spoken = re.sub(r"[\s_]+", " ", path.read_text().lower())
    assert word in spoken or word.replace(" ", "") in spoken, f"{target} never says {word!r}"


def test_the_ten_files_are_ten_and_link_to_the_tree() -> None:
    text = (DOCS / "ten-files.md").read_text()
    numbered = re.findall(r"^(\d+)\. \[`([\w/.]+)`\]", text, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, 11))
    assert all((ROOT / path).is_file() for _, path in numbered)
