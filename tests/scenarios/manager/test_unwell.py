"""A real manager that something befalls: `edgemm fleet status` says what, while it lasts and no longer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm.trust.enrolment import EnrolmentRequest, parse_token
from edgemm.trust.signing import PayloadType, key_document, seal
from simulators.full_disk import full
from simulators.mosquitto import MosquittoProcess, free_port, write_open_configuration
from simulators.waiting import eventually
from tests.disks import small_disk
from tests.unit.fleet.commands.fleets import Served, init

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
MIB = 1024 * 1024
HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """Serve a fleet in a process of its own, with its administrator logged in."""
    served = init(folder, scheme="http")
    served.start(*options)
    try:
        served.admin.run("login", served.url, "--token", served.token)
        yield served
    finally:
        if served.process is not None:
            served.stop(signal.SIGKILL)


def status(served: Served) -> dict[str, Any]:
    """Return what the command prints; its exit status is 0 exactly where all is well."""
    done = served.admin.attempt("status", "--json")
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["healthy"] else 1)
    return found


def texts(served: Served) -> dict[str, str]:
    """Return what is wrong, in words, by name."""
    return {one["name"]: one["text"] for one in status(served)["findings"]}


def is_well(served: Served) -> bool:
    return bool(status(served)["healthy"])


@pytest.mark.sqlite
def test_a_database_that_another_process_holds(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet") as served:
        eventually(lambda: is_well(served), "it is well at first")
        database = str(served.folder / "fleet.db")
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        eventually(lambda: "database_hangs" in texts(served), "it is noticed")
        said = served.admin.attempt("status")
        assert said.returncode == 1
        assert "another process" in said.stdout
        eventually(lambda: "database is locked" in texts(served).get("database_fails", ""), "SQLite gives it up")
        eventually(lambda: "scheduler_hangs" in texts(served), "deadlines are not looked at")
        holder.communicate("")
        eventually(lambda: is_well(served), "it is well again")


@pytest.mark.sqlite
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=24 * MIB) as disk, serving(disk / "fleet") as served:
        eventually(lambda: is_well(served), "it is well at first")
        with full(disk):
            eventually(lambda: "disk_full" in texts(served), "it is noticed")
            assert "% full: 0 MB left" in texts(served)["disk_full"]
            eventually(lambda: served.admin.attempt("token", "create").returncode, "no write is taken")
            assert "database or disk is full" in texts(served)["database_fails"]
        eventually(lambda: is_well(served), "it is well again")


@pytest.mark.service
def test_a_broker_that_is_killed(tmp_path: Path, mosquitto: Path) -> None:
    port, broker = free_port(), tmp_path / "broker"
    broker.mkdir()
    write_open_configuration(broker, port=port)
    logins = ("--device-login", "device:secret", "--broker", f"mqtt://manager:secret@127.0.0.1:{port}")
    with MosquittoProcess(mosquitto, broker, port=port) as running, serving(tmp_path / "fleet", *logins) as served:
        eventually(lambda: is_well(served), "it is well at first")
        running.kill()
        eventually(lambda: "broker_gone" in texts(served), "it is noticed")
        assert f"the broker at mqtt://127.0.0.1:{port} has been gone for" in texts(served)["broker_gone"]
        with MosquittoProcess(mosquitto, broker, port=port):
            eventually(lambda: is_well(served), "it is well again")


def test_a_manager_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet") as served:
        served.stop(signal.SIGKILL)
        assert list(texts(served)) == ["manager_down"]


def test_the_log_as_json_has_one_event_a_line_and_no_secret(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet", "--log-format", "json", "-v") as served:
        text = served.admin.json("token", "create")["token"]
        secret, signer = parse_token(text).secret.hex(), CryptoSigner.generate_ed25519()
        document = key_document(signer.public_key)
        request = EnrolmentRequest(secret=secret, public_key=document, name="cam\n{}", runtime="0.1.0")
        answered = urllib3.request(
            "POST", f"{served.url}/api/v1/enrol", body=seal(request, PayloadType.ENROLMENT, signer)
        ).json()
        for token in ("emp1_wrong", served.token):
            urllib3.request("GET", f"{served.url}/api/v1/nothing", headers={"Authorization": f"Bearer {token}"})
        served.stop(signal.SIGTERM)
        lines = [line for line in served.said if line.startswith("{")]
        others = [line for line in served.said if not line.startswith("{")]
    events = [json.loads(line) for line in lines]
    assert {"operation_done", "broker_connected"} <= {one["event"] for one in events}
    assert all(line.split(" ")[0] in {"page", "API", "broker", "serving", "stopped", "database"} for line in others)
    secrets = {text, secret, served.token, answered["broker"]["password"], answered["bearer"], "emp1_wrong"}
    assert len(secrets) == 6
    for one in secrets:
        assert not any(one in line for line in lines)
