import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.errors import InputError
from edgemm.trust.enrolment import create_token, parse_token


@pytest.mark.parametrize("fingerprint", [None, "cd" * 32])
def test_a_token_carries_what_a_device_pins(fingerprint: str | None) -> None:
    token = create_token(root_digest="ab" * 32, tls_fingerprint=fingerprint)
    read = parse_token(f"  {token}\n")
    assert read == token
    assert read.root_digest == "ab" * 32
    assert read.tls_fingerprint == fingerprint


def test_the_id_says_nothing_about_the_secret_and_two_tokens_differ() -> None:
    first, second = (create_token(root_digest="ab" * 32, tls_fingerprint=None) for _ in range(2))
    assert first.id != second.id
    assert first.secret.hex() not in first.id


def test_a_token_that_was_cut_short_when_copied_is_refused() -> None:
    text = str(create_token(root_digest="ab" * 32, tls_fingerprint="cd" * 32))
    for length in range(len(text)):  # 48 bytes of 80 would be a token without a fingerprint
        with pytest.raises(InputError, match="all of it"):
            parse_token(text[:length])


@given(st.text())
def test_arbitrary_text_raises_nothing_else(text: str) -> None:
    with pytest.raises(InputError):
        parse_token(text)
