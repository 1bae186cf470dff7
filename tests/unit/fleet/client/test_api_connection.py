import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from edgemm.errors import (
    ConflictError,
    EdgemmError,
    EnvironmentFailure,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    TrustError,
)
from edgemm.messages import ActionKind
from edgemm_fleet.api.messages import ActionRequest, PersonRequest, TokenRequest
from edgemm_fleet.client import FleetClient, Profile, read_profile
from edgemm_fleet.client.api_connection import ApiConnection
from edgemm_fleet.client.profile import config_folder, write_profile
from edgemm_fleet.records.records import Role
from simulators.ports import free_port
from tests.unit.fleet.api.servers import RunningFleet


def client_of(profile: Profile, **changes: object) -> FleetClient:
    return FleetClient(msgspec.structs.replace(profile, **changes))


def test_the_pinned_certificate_is_enough(admin: FleetClient) -> None:
    assert admin.me().person == "admin-person"


def test_a_name_that_is_empty_is_not_the_path_of_something_else(admin: FleetClient) -> None:
    with pytest.raises(InputError, match="expected a name or an id, found none"):
        admin.remove_device("")


def test_another_certificate_is_not_talked_to(fleet: RunningFleet) -> None:
    with client_of(fleet.profile(), tls_fingerprint="0" * 64) as client, pytest.raises(TrustError) as caught:
        client.me()
    assert "its certificate is not the one that the token pins" in str(caught.value)


def test_a_self_signed_certificate_without_a_pin_is_not_trusted(fleet: RunningFleet) -> None:
    with client_of(fleet.profile(), tls_fingerprint=None) as client, pytest.raises(TrustError, match="--fingerprint"):
        client.me()


def test_a_server_that_is_not_there_is_one_clear_line(fleet: RunningFleet) -> None:
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    with client_of(fleet.profile(), url=url) as client, pytest.raises(EnvironmentFailure) as caught:
        client.me()
    assert str(caught.value) == (
        f"cannot reach https://127.0.0.1:{port}: Connection refused; is `edgemm fleet serve` running?"
    )


def test_a_name_that_is_unknown_says_so(fleet: RunningFleet) -> None:
    url, said = "https://nowhere.invalid:8443", r"cannot reach https://nowhere\.invalid:8443: "
    with client_of(fleet.profile(), url=url) as client, pytest.raises(EnvironmentFailure, match=said):
        client.me()


@pytest.mark.parametrize("url", ["fleet.example", "ftp://x", "http://fleet.example", "https://"])
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="fleet URL"):
        ApiConnection(url, token="t", tls_fingerprint=None)


def test_errors_of_the_server_are_ours(fleet: RunningFleet, admin: FleetClient) -> None:
    with pytest.raises(NotFoundError, match="no device 'nobody'"):
        admin.device("nobody")
    with client_of(fleet.profile("viewer")) as viewer, pytest.raises(PermissionDeniedError, match="needs the role of"):
        viewer.create_token(TokenRequest())
    said = "unknown here, or was revoked.*edgemm fleet login"
    with client_of(fleet.profile(), token="nonsense") as stranger, pytest.raises(PermissionDeniedError, match=said):
        stranger.me()


def test_names_cannot_leave_their_place_in_the_address(admin: FleetClient) -> None:
    with pytest.raises(NotFoundError):
        admin.device("../models")
    with pytest.raises(NotFoundError):
        admin.model("a/b?c#d")


def test_a_list_goes_on_to_its_end(admin: FleetClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgemm_fleet.client import fleet

    monkeypatch.setattr(fleet, "_PAGE", 3)
    for number in range(7):
        admin.add_person(PersonRequest(person=f"person-{number}", role=Role.VIEWER))
    found = [one.person for one in admin.people()]
    assert len(found) == len(set(found)) == 7 + len(Role)


class Imposter:
    """A server that answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.answer = answer
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self.answer)

    def __enter__(self) -> Profile:
        return Profile(url=f"http://127.0.0.1:{self.socket.getsockname()[1]}", token="t", tls_fingerprint=None, root="")

    def __exit__(self, *exc: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", RequestError, "expected an answer of edgemm"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\noops",
            RequestError,
            "answered 502.*is this URL a fleet",
        ),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}", ConflictError, "answered 409"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{", EnvironmentFailure, "the connection broke"),
        (b"nonsense\r\n\r\n", EnvironmentFailure, "cannot reach"),
        (b"", EnvironmentFailure, "cannot reach"),
    ],
)
def test_what_is_no_fleet_is_one_clear_line(answer: bytes, error: type[EdgemmError], said: str) -> None:
    with Imposter(answer) as profile, FleetClient(profile) as client, pytest.raises(error, match=said):
        client.me()


def test_a_profile_is_kept_for_its_owner_alone(fleet: RunningFleet) -> None:
    path = write_profile(fleet.profile())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_profile() == fleet.profile()


def test_without_a_profile_the_next_step_is_named(fleet: RunningFleet) -> None:
    with pytest.raises(InputError, match="not logged in to a fleet: edgemm fleet login URL"):
        read_profile()
    config_folder().mkdir(parents=True)
    (config_folder() / "fleet.json").write_text(json.dumps({"url": 1}))
    with pytest.raises(InputError, match="log in again"):
        read_profile()


def test_a_relative_config_home_is_ignored_as_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_folder().is_absolute()


class _EarlierManager(BaseHTTPRequestHandler):
    """Knows no address, and has nothing of ours to say about it."""

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


def test_a_manager_that_does_not_know_a_request_is_named_so() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _EarlierManager) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        profile = Profile(url=f"http://127.0.0.1:{server.server_port}", token="t", tls_fingerprint=None, root="")
        request = ActionRequest(kind=ActionKind.PRUNE)
        with FleetClient(profile) as client, pytest.raises(RequestError) as caught:
            client.act("cam-1", request)
        server.shutdown()
    assert "does not know `POST /api/v1/devices/cam-1/actions` (404)" in str(caught.value)
    assert "upgrade it" in str(caught.value)
