from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm_fleet.filters import MAX_BYTES, Expression, FilterError, explained, parse, written
from edgemm_fleet.filters.grammar import MAX_DEPTH, MAX_TERMS
from tests.unit.fleet.filters.random_filters import texts

ALL = "site=plant-7 version<1.2 state:failed seen>1h id^=cam- not label:canary engine>=tflite@2.1"


@given(texts)
def test_the_canonical_text_means_the_same(text: str) -> None:
    read = parse(text, model="digits")
    assert parse(written(read), model="digits") == read
    assert written(parse(written(read), model="digits")) == written(read)
    assert explained(read)


@given(st.text(max_size=60) | st.lists(st.sampled_from([*'()"\\:=<>^! ', "a", "not", "or", "id", "1"])).map("".join))
def test_every_text_is_read_or_refused_in_three_lines(text: str) -> None:
    try:
        read = parse(text, model="digits")
    except FilterError as err:
        found: Expression | FilterError = err
    else:
        found = read
    if isinstance(found, FilterError):
        line, shown, caret = str(found).split("\n")
        assert line.startswith(f"filter, column {found.column}: ")
        assert 1 <= found.column <= len(text) + 1
        assert caret.strip() == "^"
        assert shown.isprintable()
    else:
        assert parse(written(found), model="digits") == found


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (ALL, ALL),
        ("a=1 and b=2", "a=1 b=2"),
        ("a=1 b=2 or c=3", "a=1 b=2 or c=3"),
        ("a=1 (b=2 or c=3)", "a=1 (b=2 or c=3)"),
        ("((a=1))", "a=1"),
        ("not (a=1 or b=2)", "not (a=1 or b=2)"),
        ("not a=1", "a!=1"),
        ('site="plant 7"', 'site="plant 7"'),
        ('"version"=2', '"version"=2'),
        ('"hall no"="a\\"b\\\\c"', '"hall no"="a\\"b\\\\c"'),
        ("a=b=c", "a=b=c"),
        ("state=berlin model=x", "state=berlin model=x"),
        ("or=1", '"or"=1'),
        ("online not online", "online not online"),
    ],
)
def test_what_is_read_of_a_text(text: str, canonical: str) -> None:
    assert written(parse(text, model="digits")) == canonical


@pytest.mark.parametrize("value", ["=a", "!a", "<a", ">a", "^a", "a=b"])
def test_a_value_that_begins_as_a_comparison_does_is_in_quotes(value: str) -> None:
    read = parse(f'site="{value}"')
    assert parse(written(read)) == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALL, "version of digits is below 1.2"),
        (ALL, "state of digits is failed"),
        ("model:a version<1", "version of a is below 1"),
        ("version<1 model:a", "version of a is below 1"),
        ("model:a version<1 model:b version<2", "version of b is below 2"),
        ("model:a (version<1 or state:failed)", "state of a is failed"),
        ("model:a version<1 or version<2", "version of digits is below 2"),
        ("not model:a version<1", "version of digits is below 1"),
        ("model:a not version<1", "not (version of a is below 1)"),
    ],
)
def test_of_which_model_a_term_is(text: str, said: str) -> None:
    assert said in explained(parse(text, model="digits"))


def test_where_no_model_is_meant_it_has_to_stand_beside() -> None:
    assert parse("model:digits version<1.2") == parse("model:digits version<1.2", model="other")
    with pytest.raises(FilterError, match=r"column 8: version of which model\? Put model:NAME beside it"):
        parse("online version<1.2")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected a term such as site=plant-7, found the end"),
        ("a=1 onlin", 5, "did you mean online"),
        ("a=1 sttae:failed", 5, "did you mean state"),
        ("state:faild", 7, "did you mean failed"),
        ("vresion<1.2", 1, "did you mean version"),
        ("state:quick", 7, "expected one of idle, accepted"),
        ("site:plant-7", 1, "takes a colon: a label: site=plant-7"),
        ("online:yes", 1, "online takes no value: online, or not online; a label: online=yes"),
        ("site==plant-7", 6, "found '=plant-7': one that begins with = is put in quotes"),
        ("not site=!plant-7", 10, "found '!plant-7'"),
        ("site=>plant-7", 6, "found '>plant-7'"),
        ("ring<>7", 6, "found '>7'"),
        ("label:=x", 7, "found '=x'"),
        ("model:Digits", 7, "expected the name of one model, of small letters"),
        ("not model:digits,gestures", 11, "found 'digits,gestures'"),
        ('"site":a', 1, "label:site"),
        ("a=1 or", 7, "found the end"),
        ("a=1 or )", 8, r"found '\)'"),
        ("(a=1", 5, r"expected \) for the \( of column 1"),
        ("a=1)", 4, "closed that was never opened"),
        ("site=", 6, "expected a value after ="),
        ('a="b', 3, "opened and not closed"),
        ('a=b"c"', 4, "in the middle"),
        ("=a", 1, "found '='"),
        ("seen>1y", 6, "expected a duration"),
        ("seen>1", 6, "seen>1 needs a unit: expected s, min, h or d behind the number, such as 1h"),
        ("online seen<=1.5", 14, "seen<=1.5 needs a unit: expected s, min, h or d"),
        ('seen>"0"', 6, "seen>0 needs a unit"),
        ("version=1e1", 9, "expected a version or a number such as 1.2, found '1e1'"),
        ("version<1E+1", 9, "expected a version or a number such as 1.2, found '1E\\+1'"),
        ("ring>=0x10", 7, "expected a version or a number such as 1.2, found '0x10'"),
        ("engine>tflite@1e-5", 8, "expected a version or a number such as 1.2, found '1e-5'"),
        ("ram<10GB", 5, "expected a version or a number such as 1.2, found '10GB'"),
        ("seen=1h", 1, "seen takes seen<, seen<=, seen>, seen>="),
        ("id<3", 1, 'id takes id=, id!=, id\\^=; a label of this name: "id"<…'),
        ("version^=1", 1, "version takes"),
        ("version<x", 9, "expected a version or a number such as 1.2, found 'x'"),
        ("ring<x", 6, "expected a version or a number"),
        ("engine>=2.1", 9, "expected NAME@VERSION"),
        ("engine:tflite@2", 8, "takes no version"),
        ("(" * (MAX_DEPTH + 1) + "a=1", MAX_DEPTH + 1, "nested deeper"),
        ("a=1 " * (MAX_TERMS + 1), 4 * MAX_TERMS + 1, "more than 64 terms"),
    ],
)
def test_an_error_points_at_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        parse(text, model="digits")
    assert caught.value.column == column
    if len(text) < 50:
        assert str(caught.value) == f"{caught.value.line}\n  {text}\n  {' ' * (column - 1)}^"


def test_the_caret_stands_below_its_character_in_a_long_text_of_wide_ones() -> None:
    with pytest.raises(FilterError) as caught:
        parse(f"a={'日' * 60} onlin {'b=c ' * 20}", model="digits")
    _, shown, caret = str(caught.value).split("\n")
    before = shown[: shown.index("onlin")]
    assert len(caret) - 1 == len(before) + before.count("日")
    assert len(shown) < 100


def test_a_filter_of_10_kb_gets_one_line() -> None:
    with pytest.raises(FilterError) as caught:
        parse("a=" + "x" * 10_000)
    assert str(caught.value) == "filter: 10,002 bytes, the limit is 2,000; label the devices that are meant"
    parse("a=" + "x" * (MAX_BYTES - 2))
