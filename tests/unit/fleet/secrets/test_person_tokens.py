import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.errors import InputError
from edgemm_fleet.secrets.device_secrets import DeviceSecrets
from edgemm_fleet.secrets.person_tokens import AccessToken, create_access_token, parse_access_token


@given(secret=st.binary(min_size=24, max_size=24), pin=st.none() | st.binary(min_size=32, max_size=32))
def test_a_token_reads_back_what_was_written(secret: bytes, pin: bytes | None) -> None:
    token = AccessToken(secret, pin.hex() if pin else None)
    assert parse_access_token(f" {token}\n") == token


@given(cut=st.integers(1, 60))
def test_a_token_that_was_cut_short_is_no_token(cut: int) -> None:
    text = str(AccessToken(b"s" * 24, "ab" * 32))
    with pytest.raises(InputError, match="all of it"):
        parse_access_token(text[:-cut])


@pytest.mark.parametrize("text", ["", "emp1_", "emt1_" + "A" * 32, "emp1_" + "*" * 32, "nonsense"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_access_token(text)


def test_two_tokens_are_never_the_same() -> None:
    assert len({str(create_access_token(None)) for _ in range(100)}) == 100


def test_device_secrets_follow_from_all_three_and_differ_by_each() -> None:
    derived = {
        DeviceSecrets.derive(server, token_secret=token, key_id=key)
        for server in (b"s" * 32, b"t" * 32)
        for token in (b"a" * 16, b"b" * 16)
        for key in ("k1", "k2")
    }
    assert len({s.bearer for s in derived} | {s.broker_password for s in derived}) == 16
    again = DeviceSecrets.derive(b"s" * 32, token_secret=b"a" * 16, key_id="k1")
    assert again in derived
