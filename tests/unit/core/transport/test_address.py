from __future__ import annotations

import pytest

from edgemm.errors import InputError
from edgemm.transport.address import check_url, is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "fleet.example", "localhost.example", "[::1]", "1"])
def test_what_others_may_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fleet",
        "ftp://fleet",
        "https://",
        "http://10.0.0.1",
        "http://fleet.example",
        "https://a:b",
        "https://a?b=1",
        "//",
    ],
)
def test_what_is_not_the_url_of_a_fleet(url: str) -> None:
    with pytest.raises(InputError, match=r"^fleet URL"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://fleet.example:8443/", "http://127.0.0.1:1", "http://localhost", "http://[::1]:80"]
)
def test_what_is(url: str) -> None:
    assert check_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://fleet:0", "expected a port from 1 to 65535"),
        ("https://fleet:99999", "expected https://HOST"),
        ("http://fleet", "plain http:// is for loopback only"),
    ],
)
def test_a_refused_url_says_what_is_expected(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_url(url)
