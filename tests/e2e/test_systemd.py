"""The service in a booted Debian: what the unit promises, tried. `scripts/test-systemd` runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.booted_debian import BootedDebian
from simulators.models import make_bundle
from simulators.waiting import eventually

ROOT = os.environ.get("EDGEMM_TEST_ROOT", "")
EDGEMM = "/opt/edgemm/bin/edgemm"
BUNDLE = "/opt/edgemm/tiny.edgemm"
KEY = "0123456789abcdef0123"
ODD = '/etc/my keys/100% $x: a\\b "q"'
"""Secrets lie where no other user can look, under a name that systemd would expand."""
SECRETS = ["--tls-cert", f"{ODD}/cert.pem", "--tls-key", f"{ODD}/key.pem", "--api-key-file", f"{ODD}/api key"]
UNIT = "/etc/systemd/system/edgemm.service"
HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.runtime,
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT, reason="no root folder: scripts/test-systemd makes one"),
]


@pytest.fixture(scope="module")
def booted() -> Iterator[BootedDebian]:
    make_bundle(Path(ROOT) / BUNDLE[1:], variants=("tflite:float32",))
    with BootedDebian(Path(ROOT)) as debian:
        debian.run("useradd", "--create-home", "pi")
        debian.run("groupadd", "--system", "camera")
        debian.run("useradd", "--groups", "camera", "watcher")
        debian.write("/opt/load.py", (HERE / "systemd_load.py").read_text())
        yield debian


@pytest.fixture
def debian(booted: BootedDebian) -> Iterator[BootedDebian]:
    """The same Debian without a service."""
    booted.write(f"{ODD}/api key", KEY, mode="600")
    booted.run("chmod", "700", "/etc/my keys")
    new_certificate(booted, 1)
    yield booted
    booted.run(EDGEMM, "service", "uninstall")
    booted.run("sh", "-c", f"rm -rf {UNIT}.d /etc/edgemm.env /var/lib/private/edgemm; systemctl daemon-reload")


def new_certificate(debian: BootedDebian, number: int, *, days: int = 90) -> None:
    """Put a certificate in place as its tools do: new files, and links that lead to them."""
    debian.run(
        "sh", "-euc",
        'cd "$1"; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key$2.pem '
        "-out cert$2.pem -days $3 -subj /CN=localhost 2>&1; chmod 600 key$2.pem; "
        "ln -sf cert$2.pem cert.pem; ln -sf key$2.pem key.pem",
        "sh", ODD, str(number), str(days),
    )  # fmt: skip


def install(debian: BootedDebian, *options: str, folder: str = "/") -> str:
    said = debian.run(EDGEMM, "service", "install", *options, folder=folder)
    eventually(lambda: shown(debian, "ActiveState") == "active", f"it is active: {journal(debian)}")
    return said


def shown(debian: BootedDebian, name: str) -> str:
    return debian.run("systemctl", "show", "--property", name, "--value", "edgemm").strip()


def journal(debian: BootedDebian) -> str:
    return debian.run("journalctl", "--unit", "edgemm", "--no-pager", "--lines", "200")


def ask(debian: BootedDebian, *options: str, status: int | None = 0, user: str | None = None) -> str:
    """Ask for the models at the port or a Unix socket; the last argument is the address."""
    code = (
        "import http.client, socket, ssl, sys\n"
        "where, key = sys.argv[1:]\n"
        "if where.startswith('/'):\n"
        "    c = http.client.HTTPConnection('localhost')\n"
        "    c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(where)\n"
        "elif key:\n"
        "    c = http.client.HTTPSConnection('127.0.0.1', int(where), context=ssl._create_unverified_context())\n"
        "else:\n    c = http.client.HTTPConnection('127.0.0.1', int(where))\n"
        "c.request('GET', '/metrics', headers={'X-API-Key': key}); r = c.getresponse()\n"
        "print(r.status, r.read().decode())\n"
    )
    return debian.run("python3", "-c", code, *options, status=status, user=user)


def test_it_starts_under_its_sandbox_and_only_root_may_connect_to_its_socket(debian: BootedDebian) -> None:
    said = install(debian, "--unix-socket", "/run/edgemm/edgemm.sock", "--manage", "/run/edgemm/manage.sock", BUNDLE)
    assert "only root may connect to /run/edgemm/edgemm.sock: --group GROUP" in said
    assert shown(debian, "UnitFileState") == "enabled"
    assert shown(debian, "StatusText") == "serving tiny 1.0.0"
    assert ask(debian, "8080", "").startswith("200")
    assert ask(debian, "/run/edgemm/edgemm.sock", "").startswith("200")
    assert "Permission denied" in ask(debian, "/run/edgemm/edgemm.sock", "", user="watcher", status=1)
    status = debian.run("cat", f"/proc/{shown(debian, 'MainPID')}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t0\t" not in status


def test_members_of_a_group_may_connect_to_its_socket(debian: BootedDebian) -> None:
    install(debian, "--group", "camera", "--unix-socket", "/run/edgemm/edgemm.sock", BUNDLE)
    assert ask(debian, "/run/edgemm/edgemm.sock", "", user="watcher").startswith("200")
    assert "Permission denied" in ask(debian, "/run/edgemm/edgemm.sock", "", user="pi", status=1)


def test_secrets_reach_the_service_alone_and_a_low_port_is_its_only_right(debian: BootedDebian) -> None:
    install(debian, *SECRETS, "--port", "443", BUNDLE)
    assert "edgemm_certificate_remaining_seconds 7.7" in ask(debian, "443", KEY)
    assert ask(debian, "443", "another key that is wrong").startswith("401")
    pid = shown(debian, "MainPID")
    assert "CapEff:\t0000000000000400" in debian.run("cat", f"/proc/{pid}/status")  # CAP_NET_BIND_SERVICE
    for name in ("tls-key", "api-key-file"):
        path = f"/run/credentials/edgemm.service/{name}"
        uid, mode = debian.run("stat", "--format", "%u %a", path).split()
        assert (uid, mode) == (debian.run("stat", "--format", "%u", f"/proc/{pid}").strip(), "400")
        assert "Permission denied" in debian.run("cat", path, user="pi", status=1)
    for place in ("environ", "cmdline"):
        assert KEY not in debian.run("cat", f"/proc/{pid}/{place}")
    assert KEY not in debian.run("systemctl", "show", "edgemm")


def test_a_reload_renews_certificate_and_key_and_drops_no_request(debian: BootedDebian) -> None:
    install(debian, *SECRETS, "--port", "443", BUNDLE)
    pid = shown(debian, "MainPID")
    clients = debian.start("python3", "/opt/load.py", "443", f"{ODD}/api key", "8")
    for number in (2, 3):
        new_certificate(debian, number, days=10)
        debian.run("systemctl", "reload", "edgemm")
    said, _ = clients.communicate(timeout=60)
    found = json.loads(said)
    assert found["failures"] == []
    assert found["answered"] > 100
    assert 2 <= len(found["certificates"]) <= 3
    assert shown(debian, "MainPID") == pid
    assert "ends soon" in debian.run(EDGEMM, "doctor")
    debian.write(f"{ODD}/api key", "another key of enough letters", mode="600")
    debian.run("systemctl", "reload", "edgemm")
    eventually(lambda: ask(debian, "443", KEY).startswith("401"), "the old key is refused")
    assert ask(debian, "443", "another key of enough letters").startswith("200")


def test_a_bad_certificate_is_told_to_whoever_reloads_and_the_old_one_stays(debian: BootedDebian) -> None:
    install(debian, *SECRETS, "--port", "443", BUNDLE)
    debian.write(f"{ODD}/cert1.pem", "no certificate")
    debian.run("systemctl", "reload", "edgemm", status=1)
    assert "expected a certificate and its private key in PEM" in journal(debian)
    assert ask(debian, "443", KEY).startswith("200")
    assert shown(debian, "ActiveState") == "active"


def test_what_was_handed_over_by_a_reload_is_gone_after_a_restart(debian: BootedDebian) -> None:
    install(debian, *SECRETS, "--port", "443", BUNDLE)
    debian.run("systemctl", "reload", "edgemm")
    debian.run("test", "-f", "/run/edgemm/renewed/tls-key")
    assert "Permission denied" in debian.run("cat", "/run/edgemm/renewed/tls-key", user="pi", status=1)
    debian.run("systemctl", "kill", "--signal", "KILL", "edgemm")
    eventually(lambda: shown(debian, "NRestarts") == "1" and shown(debian, "ActiveState") == "active", "it is back")
    debian.run("test", "!", "-e", "/run/edgemm/renewed")


def test_a_hang_is_restarted_and_a_drop_in_of_the_owner_is_kept(debian: BootedDebian) -> None:
    debian.write(f"{UNIT}.d/mine.conf", "[Service]\nWatchdogSec=3\nTimeoutStopSec=2\nRestartSec=1\n")
    install(debian, BUNDLE)
    assert shown(debian, "WatchdogUSec") == "3s"
    debian.run("systemctl", "kill", "--kill-who", "main", "--signal", "STOP", "edgemm")
    eventually(lambda: shown(debian, "NRestarts") == "1" and shown(debian, "ActiveState") == "active", "it is back")
    assert "Watchdog timeout" in journal(debian)
    assert "kept /etc/systemd/system/edgemm.service.d" in debian.run(EDGEMM, "service", "uninstall")
    debian.run("test", "-f", f"{UNIT}.d/mine.conf")


def test_it_stops_in_order_and_within_its_time(debian: BootedDebian) -> None:
    install(debian, "--unix-socket", "/run/edgemm/edgemm.sock", BUNDLE)
    debian.run("systemctl", "stop", "edgemm")
    assert (shown(debian, "Result"), shown(debian, "ExecMainStatus")) == ("success", "0")
    debian.run("test", "!", "-e", "/run/edgemm")
    debian.run("systemctl", "start", "edgemm")
    debian.run("systemctl", "kill", "--kill-who", "main", "--signal", "STOP", "edgemm")
    debian.run("timeout", "45", "systemctl", "stop", "edgemm")  # TimeoutStopSec=30


def test_the_unit_of_an_earlier_version_is_replaced_and_its_key_and_state_stay(debian: BootedDebian) -> None:
    debian.write(UNIT, (HERE / "earlier.service").read_text())
    debian.write("/etc/edgemm.env", f"EDGEMM_API_KEY={KEY}\nEDGEMM_TOKEN=emt1_old\n", mode="600")
    debian.run("systemctl", "enable", "--now", "edgemm")
    debian.run("touch", "/var/lib/private/edgemm/mark")
    assert ask(debian, "8080", "").startswith("401")
    install(debian, "--token", "emt1_new", "--listen", "127.0.0.1", BUNDLE)
    assert ask(debian, "8080", "").startswith("401")
    assert debian.run("cat", "/etc/edgemm.env") == f"EDGEMM_API_KEY={KEY}\nEDGEMM_TOKEN=emt1_new\n"
    debian.run("test", "-f", "/var/lib/private/edgemm/mark")
    assert "kept /etc/edgemm.env" in debian.run(EDGEMM, "service", "uninstall")
    assert debian.run("cat", "/etc/edgemm.env") == f"EDGEMM_API_KEY={KEY}\n"


def test_it_is_installed_twice_and_uninstalled_twice(debian: BootedDebian) -> None:
    install(debian, BUNDLE)
    first = debian.run("cat", UNIT)
    install(debian, BUNDLE)
    assert debian.run("cat", UNIT) == first
    assert debian.run(EDGEMM, "service", "uninstall").splitlines() == [f"removed {UNIT}"]
    assert shown(debian, "LoadState") == "not-found"
    assert debian.run(EDGEMM, "service", "uninstall").strip() == "nothing was installed"


def test_paths_of_odd_names_and_of_another_folder_are_found(debian: BootedDebian) -> None:
    odd = '/opt/my models/100% $HOME \\ "it\'s"'
    debian.run("mkdir", "-p", odd)
    debian.run("cp", BUNDLE, f"{odd}/tiny.edgemm")
    debian.run("ln", "-sfn", odd, "/opt/link")
    install(debian, "./tiny.edgemm", folder="/opt/link")
    assert ask(debian, "8080", "").startswith("200")
    debian.run("cp", BUNDLE, "/var/lib/edgemm/tiny.edgemm")
    install(debian, "/var/lib/edgemm/tiny.edgemm")
    eventually(lambda: "active" in shown(debian, "ActiveState"), "it is active")
    assert ask(debian, "8080", "").startswith("200")
    debian.run("cp", BUNDLE, "/root/tiny.edgemm")
    for given, why in (
        ("~/tiny.edgemm", "/root/tiny.edgemm lies in a home folder"),
        ("/opt/closed/tiny.edgemm", "chmod o+x /opt/closed"),
    ):
        debian.run("sh", "-c", f"mkdir -p /opt/closed; cp {BUNDLE} /opt/closed; chmod 700 /opt/closed")
        assert why in debian.run(EDGEMM, "service", "install", given, status=2)
    assert ask(debian, "8080", "").startswith("200")


def test_a_users_service_reloads_too(debian: BootedDebian) -> None:
    env = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    debian.run("loginctl", "enable-linger", "pi")
    eventually(
        lambda: debian.run("systemctl", "is-active", "user@1000", status=None).strip() == "active", "its manager runs"
    )
    debian.write("/home/pi/api key", KEY, mode="644")
    keyed = ["--api-key-file", "api key", "--unix-socket", "/run/user/1000/edgemm.sock"]
    debian.run(EDGEMM, "service", "install", "--user", *keyed, BUNDLE, folder="/home/pi", user="pi", env=env)

    def active() -> bool:
        return "active" in debian.run(EDGEMM, "service", "status", "--user", status=None, user="pi", env=env).split()

    eventually(active, "it is active")
    assert ask(debian, "/run/user/1000/edgemm.sock", KEY, user="pi").startswith("200")
    debian.write("/home/pi/api key", "another key of enough letters")
    debian.run("systemctl", "--user", "reload", "edgemm", user="pi", env=env)
    eventually(lambda: ask(debian, "/run/user/1000/edgemm.sock", KEY, user="pi").startswith("401"), "it reads it again")
    debian.run(EDGEMM, "service", "uninstall", "--user", user="pi", env=env)
