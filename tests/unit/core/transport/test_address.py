from __future__ import annotations

import pytest

from edgemm.errors import InputError
from edgemm.transport.address import (
    BROKER,
    FLEET,
    OWN_BROKER,
    AddressKind,
    check_url,
    is_host,
    is_loopback,
    split_address,
)


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


IMPOSSIBLE = [
    "x y", "x\ty", "x\ny", " x", "u:p@h", "u@h", "@h", "a..b", ".a", "-a", "a-", "a.-b", "a" * 64, "a." * 127 + "a",
    "a%20b", "a\\b", "a,b", "a_b!", "küche.example", "256.1.1.1", "1.2.3", "1.2.3.4.5", "127.0.0.01", "0x7f.0x1",
    "0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "255.255.255.255", "[x y]", "[v1.a]", "[a]", "[fe80::1% x]", "::1",
    "a\x00b", "a\u200bb", "",
]  # fmt: skip


@pytest.mark.parametrize("host", IMPOSSIBLE)
@pytest.mark.parametrize(
    ("scheme", "kind"), [("https", FLEET), ("mqtts", BROKER), ("mqtt", OWN_BROKER)], ids=["fleet", "broker", "own"]
)
@pytest.mark.parametrize("port", ["", ":1"])
def test_a_host_that_can_be_none_is_one_line(host: str, scheme: str, kind: AddressKind, port: str) -> None:
    with pytest.raises(InputError, match=r"\A--url[: ]") as raised:
        split_address(f"{scheme}://{host}{port}", kind, what="--url")
    assert "\n" not in str(raised.value)
    assert kind.expected in str(raised.value)
    assert "u:p" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("fleet.example", "fleet.example"), ("fleet.example.", "fleet.example."), ("Pi-4", "pi-4"), ("a_b", "a_b"),
        ("xn--kche-0ra.example", "xn--kche-0ra.example"), ("192.0.2.1", "192.0.2.1"), ("3com", "3com"), ("4.a", "4.a"),
        ("[2001:db8::1]", "2001:db8::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("a" * 63, "a" * 63),
    ],
)  # fmt: skip
def test_a_host_that_can_be_one(host: str, found: str) -> None:
    assert split_address(f"mqtts://{host}:1", BROKER, what="x").hostname == found
    assert check_url(f"https://{host}/") == f"https://{host}"


def test_all_addresses_of_a_machine_are_to_listen_at_and_not_to_be_reached() -> None:
    assert all(is_host(one, listens=True) for one in ("0.0.0.0", "::", "pi", "fe80::1%eth0"))
    assert not any(is_host(one, listens=True) for one in ("", "x y", "ff02::1"))
    assert not any(map(is_host, ("0.0.0.0", "::")))


@pytest.mark.parametrize("text", ["mqtts://h:0", "mqtts://h:99999", "mqtts://h:x", "mqtts://h/t", "mqtts://h?a", "h"])
def test_what_is_no_broker(text: str) -> None:
    with pytest.raises(InputError, match=r"^--broker"):
        split_address(text, BROKER, what="--broker")
