"""Addresses to listen at: several, both families, and none that nobody meant."""

from __future__ import annotations

import socket

import pytest

from edgemm.errors import EnvironmentFailure
from edgemm_runtime.http.listening import listen_all


def reached(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=60).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("hosts", "four", "six"),
    [
        (("127.0.0.1",), True, False),
        (("::1",), False, True),
        (("127.0.0.1", "::1"), True, True),
        (("::",), True, True),
        (("0.0.0.0", "::"), True, True),
        (("::", "0.0.0.0"), True, True),
        (("0.0.0.0",), True, False),
        (("0.0.0.0", "127.0.0.1"), True, False),
        (("::", "127.0.0.1", "::1"), True, True),
        (("127.0.0.1", "0.0.0.0", "::1"), True, True),
        (("127.0.0.1", "127.0.0.1"), True, False),
    ],
)
def test_each_address_is_reached_at_one_port_and_no_other(hosts: tuple[str, ...], four: bool, six: bool) -> None:
    listeners = listen_all(hosts, 0)
    [port] = {listener.getsockname()[1] for listener in listeners}
    assert (reached("127.0.0.1", port), reached("::1", port)) == (four, six)
    for listener in listeners:
        listener.close()


def test_where_one_address_is_taken_none_is_left_open() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=r"port \d+ on 127\.0\.0\.2 is taken"):
            listen_all(("127.0.0.1", "127.0.0.2"), port)
        assert not reached("127.0.0.1", port)
