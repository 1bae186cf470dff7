"""A person's command ends, whatever the server does: it has the limits of devices."""

from __future__ import annotations

import pytest
from msgspec import Struct

from edgemm.errors import UnreachableError
from edgemm.transport.patience import HttpPatience
from edgemm_fleet.client import api_connection
from edgemm_fleet.client.api_connection import ApiConnection
from simulators.hostile_server import NO_TLS, HostileServer


class _Nothing(Struct):
    """An answer without fields."""


def test_the_limits_are_those_of_devices_but_for_silence() -> None:
    patience = api_connection._PATIENCE
    assert patience == HttpPatience(10.0, 60.0, repeat=True)
    assert (patience.slow_s, patience.min_bytes_per_s, patience.document_s) == (60.0, 1024, 300.0)


@pytest.mark.parametrize(
    "manner", ["byte by byte in the head", "byte by byte in the body", "100 Continue, slowly", NO_TLS]
)
@pytest.mark.parametrize("verb", ["call", "send", "stream"])
def test_a_command_is_not_held_up(manner: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = HttpPatience(0.5, 5.0, repeat=True, slow_s=0.3, document_s=1.0)
    monkeypatch.setattr(api_connection, "_PATIENCE", short)
    with HostileServer(manner, pause_s=0.02) as server:
        connection = ApiConnection(server.url, token="emp1_x", tls_fingerprint=None)
        with pytest.raises(UnreachableError):
            if verb == "call":
                connection.call("GET", "/api/v1/me", _Nothing)
            elif verb == "send":
                connection.send("PUT", "/api/v1/blobs/x", body=iter([b"x"]), headers={"Content-Length": "1"})
            else:
                list(connection.stream("/tuf/metadata/timestamp.json"))
        connection.close()
