"""Real `edgemm run` processes that are told to read certificate and key again, by SIGHUP and by systemd's helper."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pty
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgemm_fleet.trust.certificate import LIFETIME, create_certificate
from simulators.fleet import SimulatedFleet
from simulators.models import make_bundle
from simulators.waiting import eventually

pytestmark = pytest.mark.slow
KEY = "0123456789abcdef"
ROW = json.dumps([[0.5, -0.5, 0.25, 1.0]])
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


class Server:
    """An `edgemm run` over HTTPS with an API key."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        eventually(lambda: self._found() or process.poll() is not None, "it serves")
        found = self._found()
        assert found is not None, self.log()
        self.port = int(found[1])

    def _found(self) -> re.Match[str] | None:
        return re.search(r"is served at https://127\.0\.0\.1:(\d+)", self.log())

    def log(self) -> str:
        return self._log.read_text()

    def connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=CONTEXT, timeout=60)
        connection.connect()
        return connection

    def certificate(self) -> str:
        """The digest of the certificate that a new client is shown."""
        connection = self.connect()
        shown = digest(connection)
        connection.close()
        return shown

    def status(self, key: str = KEY) -> int:
        connection = self.connect()
        found = ask(connection, key)
        connection.close()
        return found


def digest(connection: http.client.HTTPSConnection) -> str:
    shown = connection.sock.getpeercert(binary_form=True)
    assert isinstance(shown, bytes)
    return hashlib.sha256(shown).hexdigest()


def ask(connection: http.client.HTTPSConnection, key: str = KEY) -> int:
    connection.request("POST", "/predict", ROW, {"X-API-Key": key})
    reply = connection.getresponse()
    reply.read()
    return reply.status


def put(folder: Path, *, key: str = KEY, days: int = 90) -> str:
    """Put a new certificate, its key and an API key into a folder; return the certificate's digest."""
    folder.mkdir(exist_ok=True)
    now = datetime.now(UTC) + timedelta(days=days) - LIFETIME
    create_certificate(folder / "tls-cert", folder / "tls-key", names=(), now=now)
    (folder / "api-key-file").write_text(key)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / "tls-cert").read_text())).hexdigest()


@contextmanager
def serving(tmp_path: Path, secrets: Path, env: Mapping[str, str] = os.environ) -> Iterator[Server]:
    make_bundle(tmp_path / "tiny.edgemm")
    log = tmp_path / "log"
    options = [word for name in ("tls-cert", "tls-key", "api-key-file") for word in (f"--{name}", str(secrets / name))]
    command = [sys.executable, "-m", "edgemm", "run", str(tmp_path / "tiny.edgemm"), "--port", "0", *options]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, text=True, env=dict(env), start_new_session=True
        )
    try:
        yield Server(process, log)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_hangup_renews_certificate_and_key_and_drops_no_request(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    before = put(secrets)
    with serving(tmp_path, secrets) as server:
        stopping, statuses, shown = threading.Event(), [], set()

        def ask_on(*, keep: bool) -> None:
            connection = server.connect()
            while not stopping.is_set():
                statuses.append(ask(connection))
                if not keep:
                    shown.add(digest(connection))
                    connection.close()
                    connection = server.connect()
            connection.close()

        clients = [threading.Thread(target=ask_on, kwargs={"keep": keep}) for keep in (True, False)]
        for client in clients:
            client.start()
        eventually(lambda: before in shown, "a new client is shown the certificate")
        after = put(secrets, days=10)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: after in shown, "new clients are shown the new certificate")
        stopping.set()
        for client in clients:
            client.join()
        assert set(statuses) == {200}
        assert shown == {before, after}
        assert "certificate ends soon" in server.log()
        put(secrets, key=KEY[::-1])
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: server.status() == 401, "the old key is refused")
        assert server.status(KEY[::-1]) == 200


@pytest.mark.parametrize("file", ["tls-cert", "tls-key", "api-key-file"])
def test_what_cannot_be_read_leaves_all_as_it_was_with_one_line(file: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    before = put(secrets)
    with serving(tmp_path, secrets) as server:
        put(secrets, key=KEY[::-1])
        (secrets / file).write_text("rubbish")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "not reloaded, all stays as it was" in server.log(), "it says so")
        assert "Traceback" not in server.log()
        assert (server.certificate(), server.status()) == (before, 200)


def test_systemd_hands_renewed_secrets_on_to_a_service_that_may_not_read_them(tmp_path: Path) -> None:
    credentials, runtime, secrets = tmp_path / "credentials", tmp_path / "runtime", tmp_path / "secrets"
    runtime.mkdir()
    before = put(credentials)
    env = os.environ | {"CREDENTIALS_DIRECTORY": str(credentials), "RUNTIME_DIRECTORY": str(runtime)}
    with serving(tmp_path, credentials, env) as server:

        def reload() -> subprocess.CompletedProcess[str]:
            files = [f"{name}:{secrets / name}" for name in ("tls-cert", "tls-key", "api-key-file")]
            command = [sys.executable, "-m", "edgemm", "service", "renew", *files]
            given = env | {"MAINPID": str(server.process.pid)}
            return subprocess.run(command, env=given, capture_output=True, text=True, check=False)

        for key in (KEY[::-1], KEY):
            after = put(secrets, key=key)
            assert reload().returncode == 0
            eventually(lambda after=after: server.certificate() == after, "it has the new one")  # type: ignore[misc]
            assert server.status(key) == 200
        (secrets / "tls-key").write_text("rubbish")
        done = reload()
        assert (done.returncode, "expected a certificate and its private key" in done.stderr) == (2, True)
        assert server.certificate() == after
        for path in (runtime / "renewed").iterdir():
            assert path.stat().st_mode & 0o777 == 0o400
        assert hashlib.sha256(ssl.PEM_cert_to_DER_cert((credentials / "tls-cert").read_text())).hexdigest() == before


@pytest.mark.parametrize("ignored", [False, True], ids=["plain", "nohup"])
def test_a_terminal_that_is_gone_ends_it_in_order_unless_nohup_said_otherwise(ignored: bool, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny.edgemm")
    log = tmp_path / "log"
    program = f"exec {sys.executable} -m edgemm run {tmp_path}/tiny.edgemm --port 0 > {log} 2>&1"
    pid, terminal = pty.fork()
    if pid == 0:
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv("/bin/sh", ["sh", "-c", program])
    eventually(lambda: log.exists() and "try:" in log.read_text(), "it serves")
    os.close(terminal)
    if ignored:
        eventually(lambda: "reloaded certificate_ends=none" in log.read_text(), "it goes on")
        os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ("the terminal is gone" in log.read_text()) is not ignored


def test_a_fleets_device_goes_on_after_a_hangup(tmp_path: Path) -> None:
    log, state = tmp_path / "log", tmp_path / "state"
    with SimulatedFleet() as fleet, log.open("w") as file:
        options = ["--fleet", fleet.url, "--token", fleet.token(), "--state-dir", str(state), "--port", "0"]
        command = [sys.executable, "-m", "edgemm", "run", *options]
        with subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True) as process:
            try:
                eventually(lambda: "connected device=" in log.read_text(), "it is connected")
                process.send_signal(signal.SIGHUP)
                eventually(lambda: "reloaded certificate_ends=none" in log.read_text(), "it goes on")
                process.terminate()
                assert process.wait(60) == 0
            finally:
                process.kill()
