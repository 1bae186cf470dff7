"""What is wrong with JSON of a stranger is told by name and place."""

from __future__ import annotations

import msgspec
import pytest

from edgemm_runtime.http import json_faults


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[1, NaN]", "found NaN at byte 4, "),
        (b"[NaN]", "found NaN at byte 1, "),
        (b'{"a":-Infinity}', "found -Infinity at byte 6, "),
        (b"Infinity", "found Infinity at byte 0, "),
        (b"[1, Nothing]", "found none from byte 4 on"),
        (b"[1,", "found a body that is cut short"),
    ],
)
def test_numbers_that_json_has_not_are_named(body: bytes, said: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body)
    assert json_faults.told(caught.value, body).startswith(said)


@pytest.mark.parametrize("before", [0, 5, 2**16 - 3, 2**16 - 2, 2**17 + 1])
def test_the_place_of_bytes_of_another_encoding_is_that_in_the_body(before: int) -> None:
    body = b'["' + b"a" * before + b'","h\xc3\xb6he","h\xf6he"]'
    with pytest.raises(UnicodeDecodeError) as caught:
        msgspec.json.decode(body)
    place = body.index(b"\xf6he")
    assert json_faults.told(caught.value, body) == f"found bytes that are no UTF-8, from byte {place} on"
