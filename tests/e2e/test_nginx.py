"""A fleet behind nginx, by the configuration that docs/nginx.md gives."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

import pytest
import urllib3

from simulators.waiting import eventually
from tests.docs.pages import DOCS, blocks
from tests.unit.fleet.commands.fleets import Served, free_port, init

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]


@dataclass
class Proxied:
    """A fleet and the way to it."""

    fleet: Served
    pool: urllib3.PoolManager
    behind: int
    """The manager's own port."""

    def get(self, path: str, *, token: str | None = "", **headers: str) -> urllib3.BaseHTTPResponse:
        """Ask as the administrator, unless another token, or none, is given."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.fleet.token}"
        return self.pool.request("GET", self.fleet.url + path, headers=sent)


def configuration(fleet: Served, *, behind: int) -> str:
    """Return what the page says, for other folders and ports."""
    (text,) = (block.text for block in blocks(DOCS / "nginx.md") if block.language == "nginx")
    here = fleet.folder.parent
    changes = {
        "user edgemm;": "user root;" if os.geteuid() == 0 else "",
        "/var/lib/edgemm/fleet": str(fleet.folder),
        "/run/nginx-edgemm.pid": str(here / "nginx.pid"),
        "/var/log/nginx": str(here),
        "listen 8443": f"listen 127.0.0.1:{fleet.url.rpartition(':')[2]}",
        "127.0.0.1:8080": f"127.0.0.1:{behind}",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, nginx: Path) -> Iterator[Proxied]:
    fleet = init(tmp_path_factory.mktemp("nginx") / "fleet")
    behind = free_port()
    file = fleet.folder.parent / "nginx.conf"
    file.write_text(configuration(fleet, behind=behind))
    program = subprocess.Popen([str(nginx), "-p", str(file.parent), "-c", str(file), "-g", "daemon off;"])
    try:
        fleet.start("--behind-proxy", "--listen", f"127.0.0.1:{behind}")
        certificate = str(fleet.folder / "tls" / "certificate.pem")
        with urllib3.PoolManager(ca_certs=certificate, retries=False) as pool:
            found = Proxied(fleet, pool, behind)
            eventually(lambda: _is_up(fleet), "nginx listens")
            yield found
    finally:
        program.terminate()
        program.wait(30)
        if fleet.process is not None:
            fleet.stop(SIGKILL)


def _is_up(fleet: Served) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(fleet.url.rpartition(":")[2]))) == 0


@pytest.fixture(scope="module")
def digest(proxied: Proxied) -> str:
    """A blob that was uploaded through nginx."""
    content = os.urandom(300_000)
    digest = hashlib.sha256(content).hexdigest()
    path, sent = f"/api/v1/blobs/{digest}", {"Authorization": f"Bearer {proxied.fleet.token}"}
    assert proxied.pool.request("PUT", proxied.fleet.url + path, body=content, headers=sent).status == 204
    return digest


def test_the_certificate_is_the_one_that_tokens_pin(proxied: Proxied) -> None:
    assert proxied.get("/api/v1/health", token=None).status == 200
    _, port = proxied.fleet.url.rpartition("/")[2].split(":")
    shown = ssl.get_server_certificate(("127.0.0.1", int(port)))
    assert shown.strip() == (proxied.fleet.folder / "tls" / "certificate.pem").read_text().strip()


def test_a_blob_is_sent_by_nginx_to_who_may_have_it(proxied: Proxied, digest: str) -> None:
    content = (proxied.fleet.folder / "blobs" / digest).read_bytes()
    answer = proxied.get(f"/api/v1/blobs/{digest}")
    assert (answer.status, hashlib.sha256(answer.data).hexdigest()) == (200, digest)
    assert answer.headers.getlist("ETag") == [f'"{digest}"']
    assert answer.headers.getlist("Cache-Control") == ["private, max-age=31536000, immutable"]
    assert "X-Accel-Redirect" not in answer.headers
    rest = proxied.get(f"/api/v1/blobs/{digest}", Range="bytes=100-", If_Range=f'"{digest}"')
    assert (rest.status, rest.data) == (206, content[100:])
    assert rest.headers["Content-Range"] == f"bytes 100-{len(content) - 1}/{len(content)}"
    anew = proxied.get(f"/api/v1/blobs/{digest}", Range="bytes=100-", If_Range='"another"')
    assert (anew.status, anew.data) == (200, content)


@pytest.mark.parametrize("path", ["/api/v1/blobs/{}", "/edgemm-blobs/{}", "/edgemm-blobs/../keys/director.pem"])
def test_a_blob_is_for_nobody_else(proxied: Proxied, digest: str, path: str) -> None:
    assert proxied.get(path.format(digest), token=None).status in {401, 404, 429}
    assert proxied.get(path.format(digest), token="guessed").status in {401, 404, 429}


def test_the_manager_behind_hears_loopback_alone_and_sends_no_blob(proxied: Proxied, digest: str) -> None:
    url = f"http://127.0.0.1:{proxied.behind}/api/v1/blobs/{digest}"
    answer = urllib3.request("GET", url, headers={"Authorization": f"Bearer {proxied.fleet.token}"})
    assert (answer.headers["X-Accel-Redirect"], answer.data) == (f"/edgemm-blobs/{digest}", b"")


def test_a_client_cannot_say_another_address(proxied: Proxied) -> None:
    statuses = [
        proxied.get("/api/v1/me", token=f"guess {number}", X_Forwarded_For=f"10.0.0.{number}").status
        for number in range(60)
    ]
    assert (statuses[0], statuses[-1]) == (401, 429)
    assert proxied.get("/api/v1/me").status == 200


def test_a_request_that_trickles_never_reaches_the_manager(proxied: Proxied) -> None:
    host, port = proxied.fleet.url.rpartition("/")[2].split(":")
    trust = ssl.create_default_context(cafile=proxied.fleet.folder / "tls" / "certificate.pem")
    slow = [trust.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) for _ in range(40)]
    try:
        for one in slow:
            one.sendall(b"POST /api/v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert proxied.get("/api/v1/health", token=None).status == 200
    finally:
        for one in slow:
            one.close()


def test_the_page_names_the_place_of_blobs_that_the_manager_names() -> None:
    from edgemm_fleet.server.process import PROXIED_BLOBS

    assert re.search(rf"location {PROXIED_BLOBS} {{\s+internal;", (DOCS / "nginx.md").read_text())
