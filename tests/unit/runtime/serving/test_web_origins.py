"""Origins: how browsers spell them, and which of them are this server's own."""

from __future__ import annotations

import pytest

from edgemm_runtime.serving.web_origins import canonical, is_own

SPELLED = {
    "https://panel.example": "https://panel.example",
    "HTTPS://Panel.Example:443": "https://panel.example",
    "https://panel.example/": "https://panel.example",
    "http://192.0.2.7:3000": "http://192.0.2.7:3000",
    "http://[::1]:80": "http://[::1]",
    "http://my_panel:8123": "http://my_panel:8123",
}
NONE = (
    "*", "null", "", "panel.example", "https://panel.example/app", "https://*.example", "ftp://panel.example",
    "https://", "https://me@panel.example", "https://panel.example?", "https://panel.example#a", "https://panel:x",
    "https://panel.example:", "https://panel.example:70000", "https://a b", "http://[::1", "https://a,b",
    "https://" + "a" * 400, "http://x\r\nSet-Cookie: a", "file://",
)  # fmt: skip


@pytest.mark.parametrize("text", SPELLED)
def test_an_origin_is_spelled_as_browsers_do(text: str) -> None:
    assert canonical(text) == SPELLED[text]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_origin_is_none(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    ("origin", "host", "own", "own_if_proven"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True, True),
        ("http://localhost:8080", "localhost:8080", True, True),
        ("http://[::1]:8080", "[::1]:8080", True, True),
        ("http://pi.local:8080", "PI.local:8080", True, True),
        ("http://192.168.1.5", "192.168.1.5", True, True),
        ("https://192.168.1.5", "192.168.1.5:443", True, True),
        ("http://raspberrypi:8080", "raspberrypi:8080", True, True),
        ("http://127.0.0.1:3000", "127.0.0.1:8080", False, False),
        ("http://localhost:8080", "127.0.0.1:8080", False, False),
        ("http://page.example", "127.0.0.1:8080", False, False),
        ("http://page.example:8080", "page.example:8080", False, True),
        ("http://127.0.0.1.page.example:8080", "127.0.0.1.page.example:8080", False, True),
        ("null", "127.0.0.1:8080", False, False),
        ("http://127.0.0.1:8080", "", False, False),
    ],
)
def test_a_page_is_ours_where_no_stranger_can_have_its_name(
    origin: str, host: str, own: bool, own_if_proven: bool
) -> None:
    assert is_own(origin, host, proven=False) is own
    assert is_own(origin, host, proven=True) is own_if_proven
