import hashlib
import re
from typing import Any

import pytest

from edgemm import canonical
from edgemm.errors import MessageError
from edgemm.messages import Ack, decode_control


def test_numbers_and_order_are_those_of_rfc_8785() -> None:
    # RFC 8785, section 3.2.2.3 and appendix B.
    value = {"b": [1e30, 4.5, 2e-3, 1e-27, 333333333.33333329], "a": '€$\u000f\nA\'B"\\"/', "A": True}
    expected = '{"A":true,"a":"€$\\u000f\\nA\'B\\"\\\\\\"/","b":[1e+30,4.5,0.002,1e-27,333333333.3333333]}'
    assert canonical.encode(value) == expected.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(MessageError, match="canonical JSON"):
        canonical.encode({"x": value})


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{"a": 2}', b'{"a":1,"a":2}', b'{"a":2.0}', b'{"a":NaN}', b"{", b"\xff", b""]
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match="thing"):
        canonical.decode(data, dict, name="thing")


@pytest.mark.parametrize(
    ("data", "found", "at"),
    [
        (rb'{"a":"\ud800"}', r"\ud800", 6),
        (rb'{"a":"\uD83D and more"}', r"\uD83D", 6),
        (rb'{"a":"\udc00 abc"}', r"\udc00", 6),
        (rb'{"a":"\\ud83d\ude00 \\\\ud800 \ud800\ud800\udc00"}', r"\ude00", 13),
        (rb'{"a":"\ud83d\ude00 \\ud800 \ud800\ud800\udc00"}', r"\ud800", 27),
        (rb'{"\ud800":1}', r"\ud800", 2),
    ],
)
def test_half_a_surrogate_pair_is_called_so(data: bytes, found: str, at: int) -> None:
    for decode in (lambda: canonical.decode(data, dict[str, Any], name="x"), lambda: decode_control(data, Ack)):
        with pytest.raises(MessageError, match=re.escape(f"found {found} at byte {at}, a lone surrogate")):
            decode()


def test_what_is_cut_short_is_called_so_and_no_pair_is_taken_for_a_half() -> None:
    with pytest.raises(MessageError, match="truncated"):
        decode_control(rb'{"a":"\ud83d\ude00 \\ud800', Ack)


def test_digests() -> None:
    assert canonical.sha256(b"x") == hashlib.sha256(b"x").hexdigest()
    assert canonical.is_digest("0" * 64)
    assert not canonical.is_digest("0" * 64 + "\n")
    assert not canonical.is_digest("A" * 64)
