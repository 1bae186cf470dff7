"""Images in text, as `base64`, browsers, Python and people write them."""

from __future__ import annotations

import base64
import textwrap
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.errors import BadRequestError
from edgemm_runtime.preprocessing.encoded_images import from_text, in_json

DATA = bytes(range(256)) * 3 + b"\xff\xfe"
PLAIN = base64.b64encode(DATA).decode()


@given(st.binary(max_size=300), st.sampled_from(["\n", "\r\n", " ", "\t"]), st.integers(1, 80))
def test_every_way_to_write_base64_is_read_back(data: bytes, blank: str, width: int) -> None:
    plain, for_urls = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    wrapped = blank.join(textwrap.wrap(plain, width))
    for text in (plain, for_urls, plain.rstrip("="), for_urls.rstrip("="), wrapped, f"\n{plain}\n", plain.encode()):
        assert from_text(text) == data
    for head in (
        "data:image/png;base64,",
        "DATA:;base64,",
        "data:image/jpeg;charset=x;base64,",
        "data:image/png;BASE64,",
    ):
        assert from_text(head + plain) == data
        assert from_text(head + quote(plain, safe="")) == data
    assert from_text("data:image/png," + quote(data)) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!", "found the character '!' in it"),
        ("ab~d", "found the character '~' in it"),
        ("aébc", "found the character '?' in it"),
        ("ab=cd", "found the character '=' in it"),
        ("abcde", "cut short"),
        ("data:image/png;base64", "without a comma"),
    ],
)
def test_what_is_no_base64_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        from_text(text)
    assert said in str(caught.value)


def test_what_counts_as_an_image_in_json() -> None:
    assert in_json({"b64": PLAIN}, texts=False) == [DATA]
    assert in_json([{"b64": PLAIN}, {"b64": PLAIN}], texts=False) == [DATA, DATA]
    assert in_json(PLAIN, texts=True) == [DATA]
    assert in_json([PLAIN, {"b64": PLAIN}], texts=True) == [DATA, DATA]
    others: list[Any] = [[1.0, 2.0], [[1]], [], 5, None, {"b64": PLAIN, "more": 1}, {}]
    assert [in_json(value, texts=True) for value in others] == [None] * len(others)
    assert [in_json(value, texts=False) for value in (PLAIN, [PLAIN])] == [None, None]
    wrong: list[tuple[Any, str]] = [([{"b64": PLAIN}, 5], "image 2: "), ({"b64": 5}, ""), ([{"b64": [1]}], "")]
    for value, which in wrong:
        with pytest.raises(BadRequestError, match=f"^{which}expected base64"):
            in_json(value, texts=True)
