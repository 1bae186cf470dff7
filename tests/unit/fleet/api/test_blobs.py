import json
import socket
from pathlib import Path

import pytest

from edgemm.canonical import sha256
from edgemm_fleet.api.context import ApiLimits
from tests.unit.fleet.api.servers import RunningFleet, serving

DATA = bytes(range(256)) * 5000
DIGEST = sha256(DATA)
PATH = f"/api/v1/blobs/{DIGEST}"


@pytest.fixture
def stored(fleet: RunningFleet) -> RunningFleet:
    assert fleet.request("PUT", PATH, token="publisher", body=DATA).status == 204
    return fleet


def test_a_blob_comes_back_with_its_digest_as_etag(stored: RunningFleet) -> None:
    response = stored.request("GET", PATH, token="viewer")
    assert response.data == DATA
    assert response.headers["ETag"] == f'"{DIGEST}"'
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "immutable" in response.headers["Cache-Control"]


def test_head_tells_the_size_without_the_bytes(stored: RunningFleet) -> None:
    response = stored.request("HEAD", PATH)
    assert response.headers["Content-Length"] == str(len(DATA))
    assert response.data == b""


@pytest.mark.parametrize("start", [0, 1, len(DATA) // 2, len(DATA) - 1])
def test_a_download_goes_on_where_it_stopped(stored: RunningFleet, start: int) -> None:
    headers = {"Range": f"bytes={start}-", "If-Range": f'"{DIGEST}"'}
    response = stored.request("GET", PATH, headers=headers)
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    assert response.data == DATA[start:]


def test_a_range_of_another_content_gets_the_whole_blob(stored: RunningFleet) -> None:
    response = stored.request("GET", PATH, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert response.status == 200
    assert response.data == DATA


def test_a_range_beyond_the_blob_is_416_in_our_form(stored: RunningFleet) -> None:
    response = stored.request("GET", PATH, headers={"Range": f"bytes={len(DATA)}-"})
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{len(DATA)}"
    assert json.loads(response.data)["error"]["hint"]


def test_what_is_known_by_its_etag_is_not_sent_again(stored: RunningFleet) -> None:
    assert stored.request("GET", PATH, headers={"If-None-Match": f'"{DIGEST}"'}).status == 304


def test_bytes_of_another_digest_are_not_kept(fleet: RunningFleet) -> None:
    response = fleet.request("PUT", PATH, body=DATA[:-1])
    assert response.status == 400
    assert json.loads(response.data)["error"]["code"] == "digest_mismatch"
    assert list(fleet.folder.blobs.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(fleet: RunningFleet) -> None:
    host, port = fleet.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fleet.tokens['admin']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode() + DATA[:1000])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert list(fleet.folder.blobs.iterdir()) == []
    assert fleet.request("PUT", PATH, body=DATA).status == 204


def test_uploading_again_is_no_error_and_the_connection_can_go_on(stored: RunningFleet) -> None:
    assert stored.request("PUT", PATH, body=DATA).status == 204
    assert stored.request("PUT", PATH, body=b"").status == 204
    assert stored.request("GET", PATH).data == DATA


def test_a_blob_over_the_limit_is_413(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet", limits=ApiLimits(max_blob_bytes=1000)) as fleet:
        response = fleet.request("PUT", PATH, body=DATA)
        chunked = fleet.request("PUT", PATH, body=iter([DATA]), chunked=True)
        left = list(fleet.folder.blobs.iterdir())
    assert response.status == chunked.status == 413
    assert left == []


def test_only_what_is_missing_has_to_be_uploaded(stored: RunningFleet) -> None:
    body = json.dumps({"digests": ["0" * 64, DIGEST]})
    response = stored.request("POST", "/api/v1/blobs/missing", token="publisher", body=body)
    assert json.loads(response.data) == {"digests": ["0" * 64]}


@pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "nothing", "A" * 64, "x" * 500])
def test_a_blob_that_is_not_here_is_404(fleet: RunningFleet, name: str) -> None:
    assert fleet.request("GET", f"/api/v1/blobs/{name}").status == 404


def test_a_full_disk_is_the_servers_fault_and_keeps_nothing(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    response = fleet.request("PUT", PATH, body=DATA)
    monkeypatch.undo()
    assert response.status == 503
    assert "No space left on device" in json.loads(response.data)["error"]["message"]
    assert list(fleet.folder.blobs.iterdir()) == []
