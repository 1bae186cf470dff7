"""What others wrote is shown as text, and what people write in any script stays as it is."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.outlet import escaping

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("löwe\x1b[2J 猫\x07\u202e\n\tdog", r"löwe\x1b[2J 猫\x07\u202e\n\tdog"),
        ("a\u200bb\u2066c\ufeffd\xade", r"a\u200bb\u2066c\ufeffd\xade"),
        ("a\u2028b\u2029c\x85d\x0bd", r"a\u2028b\u2029c\x85d\x0bd"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\u3164b\ufe0fc\u034fd\u115f", r"a\u3164b\ufe0fc\u034fd\u115f"),
        ("\U000e0041tag", r"\U000e0041tag"),
        ("half \ud83d", r"half \ud83d"),
        ("a\xa0b\u3000c", "a b c"),
        ("Москва, 東京, القاهرة, नई दिल्ली", "Москва, 東京, القاهرة, नई दिल्ली"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert escaping.one_line(text) == shown


def test_a_text_of_several_lines_keeps_them() -> None:
    assert escaping.printable("löwe\x1b[2J 猫\x07\u202e\n\tdog\r\n") == "löwe\\x1b[2J 猫\\x07\\u202e\n\tdog\\r\n"


@given(st.text())
def test_nothing_that_steers_or_hides_is_left(text: str) -> None:
    for shown in (escaping.one_line(text), escaping.printable(text).replace("\n", "").replace("\t", "")):
        assert not [c for c in shown if unicodedata.category(c) in HIDDEN]
    assert escaping.one_line(escaping.one_line(text)) == escaping.one_line(text)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_json_says_the_same_by_numbers(value: object) -> None:
    encoded = json.dumps(value, ensure_ascii=False)
    shown = escaping.json_printable(encoded)
    if all(not 0xD800 <= ord(c) < 0xE000 for c in encoded):
        assert json.loads(shown) == value
    assert not [c for c in shown if unicodedata.category(c) in HIDDEN]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1251"])
def test_json_that_an_encoding_cannot_write_means_the_same(encoding: str) -> None:
    text = '{"label":"Stra\u00dfe \u65e5\u672c \U0001f431","score":1.5}'
    shown = escaping.json_encodable(text, encoding)
    assert json.loads(shown.encode(encoding).decode(encoding)) == json.loads(text)
    assert (shown == text) == (encoding == "utf-8")
