"""From `init` to a rolled-out version, with real processes and simulated devices over the real broker."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any, TypeAlias

import msgspec
import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm.trust.enrolment import EnrolmentRequest, EnrolmentResponse, parse_token
from edgemm.trust.signing import PayloadType, key_document, load_key, seal
from edgemm_fleet.trust.certificate import create_certificate
from simulators.device import MqttDevice, Outcome, SimulatedDevice
from simulators.waiting import eventually
from tests.databases import shared_scope
from tests.unit.core.bundles import small_bundle
from tests.unit.fleet.commands.fleets import Person, Served, init

pytestmark = pytest.mark.slow
Join: TypeAlias = Callable[..., SimulatedDevice]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fleet = init(tmp_path / "fleet", scheme="http")
    fleet.start()
    yield fleet
    if fleet.process is not None:
        fleet.stop(signal.SIGKILL)


@pytest.fixture
def logged_in(served: Served) -> Served:
    served.admin.run("login", served.url, "--token", served.token)
    return served


@pytest.fixture(scope=shared_scope)
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A fleet of several tests, which leave it running and look at what they added alone."""
    fleet = init(tmp_path_factory.mktemp("running") / "fleet", scheme="http")
    fleet.start()
    fleet.admin.run("login", fleet.url, "--token", fleet.token)
    yield fleet
    fleet.stop(signal.SIGKILL)


@pytest.fixture
def join(logged_in: Served) -> Iterator[Join]:
    """Let simulated devices join by a token, as a real one would."""
    with joining(logged_in) as joined:
        yield joined


@pytest.fixture
def join_running(running: Served) -> Iterator[Join]:
    """Let them join the fleet of several tests."""
    with joining(running) as joined:
        yield joined


@contextmanager
def joining(fleet: Served) -> Iterator[Join]:
    connected: list[MqttDevice] = []
    director = load_key(fleet.folder / "keys" / "director.pem").public_key

    def joined(name: str, **outcomes: Any) -> SimulatedDevice:
        token = parse_token(fleet.admin.json("token", "create", "--label", "site=north")["token"])
        signer = CryptoSigner.generate_ed25519()
        document = key_document(signer.public_key)
        request = EnrolmentRequest(secret=token.secret.hex(), public_key=document, name=name, runtime="0.1.0")
        sealed = seal(request, PayloadType.ENROLMENT, signer)
        response = urllib3.request("POST", f"{fleet.url}/api/v1/enrol", body=sealed)
        answer = msgspec.json.decode(response.data, type=EnrolmentResponse)
        device = SimulatedDevice("plant", answer.device, signer=signer, director=[director], **outcomes)
        connected.append(MqttDevice(device, answer.broker))
        connected[-1].start()
        return device

    yield joined
    for device in connected:
        device.stop()


def bundle(folder: Path, version: str) -> str:
    path = folder / f"digits-{version}.edgemm"
    small_bundle(path, version=version)
    return str(path)


def test_from_init_to_a_rollout_that_finishes_and_one_that_halts(logged_in: Served, join: Join, tmp_path: Path) -> None:
    admin = logged_in.admin
    good = admin.json("publish", bundle(tmp_path, "1.0.0"))["record"]
    bad = admin.json("publish", bundle(tmp_path, "2.0.0"), "--minimum-version", "1.0.0")["record"]
    said_of_it: dict[str, Any] = {
        "outcomes": {bad["digest"]: Outcome.SELFTEST_FAILED},
        "detail": "output probs: expected 0.25",
    }
    devices = [join(name, **said_of_it) for name in ("gate", "barn", "mast")]
    said = admin.run("rollout", "create", "digits", "1.0.0", "--deadline", "2min", "--wait")
    assert re.search(r"r-[0-9a-f]{8} digits 1\.0\.0 finished; group 1: 1 committed;", said)
    assert {device.active["digits"].digest for device in devices} == {good["digest"]}
    halted = admin.run("rollout", "create", "digits", "2.0.0", "--deadline", "2min", "--wait", status=1)
    told = r"of 1 devices 1 reported, 0 committed, 1 failed: selftest_failed \(1\): (\S+): output probs: expected 0\.25"
    found = re.search(r"error: rollout (r-[0-9a-f]{8}) is halted: group 1: too many errors; " + told, halted)
    assert found is not None
    shown = admin.run("rollout", "status", found[1])
    assert re.search(told, shown)
    assert re.search(rf"1 +{found[2]} +failed +failed +selftest_failed: output probs: expected 0\.25", shown)
    assert "no device was touched" not in admin.run("rollout", "status", found[1], "--limit", "0")
    assert re.search(told, admin.json("rollout", "status", found[1])["rollout"]["reason"])
    untouched = [device for device in devices if len(device.generations) == 1]
    assert len(untouched) == 2
    listed = admin.run("devices")
    for device in devices:
        assert device.id in listed
    newest = admin.json("rollout", "list")[0]
    assert (newest["state"], newest["plan"]["version"]) == ("halted", "2.0.0")
    shown = admin.run("devices", "show", untouched[0].id)
    assert "wanted       digits 1.0.0" in shown
    assert "committed" in shown
    assert "rollout.start" in admin.run("audit")
    assert "nothing yet" in admin.run("devices", "history", untouched[0].id, "--since", "2d")
    assert admin.json("devices", "history", untouched[0].id) == []


def test_a_killed_server_goes_on_with_everything_it_had(logged_in: Served, tmp_path: Path) -> None:
    admin = logged_in.admin
    published = admin.json("publish", bundle(tmp_path, "1.0.0"))["record"]
    token = admin.json("token", "create")["record"]["id"]
    logged_in.stop(signal.SIGKILL)
    unreachable = admin.run("devices", status=1)
    assert "Connection refused; is `edgemm fleet serve` running?" in unreachable
    logged_in.start()
    assert admin.json("models")[0]["versions"] == [published]
    assert [one["id"] for one in admin.json("token", "list")] == [token]
    assert "was published before" in admin.run("publish", bundle(tmp_path, "1.0.0"))


def test_each_command_has_a_json_form_of_one_document(running: Served, tmp_path: Path) -> None:
    admin = running.admin
    admin.json("publish", bundle(tmp_path, "1.0.0"))
    plan = ("digits", "1.0.0", "--group", "1", "--group", "50%", "--where", "a=b", "--allow-empty")
    draft = admin.json("rollout", "create", *plan)
    assert [group["count"] for group in draft["rollout"]["plan"]["groups"]] == [1, None]
    assert draft["rollout"]["plan"]["selector"]["labels"] == {"a": ["b"]}
    rollout = draft["rollout"]["id"]
    assert admin.json("rollout", "status", rollout)["rollout"]["state"] == "draft"
    assert admin.json("rollout", "cancel", rollout)["rollout"]["state"] == "canceled"
    for command in (["devices"], ["devices", "list"], ["models"], ["models", "list"], ["people", "list"]):
        assert isinstance(admin.json(*command), list)
    assert admin.json("audit")[0]["action"] == "rollout.cancel"


@pytest.mark.parametrize("name", ["a/b", "..", "."])
def test_what_nothing_can_be_called_is_not_found(running: Served, name: str) -> None:
    assert "nothing in a fleet is called" in running.admin.run("devices", "show", name, status=1)


def test_an_argument_that_is_no_text_is_one_line(running: Served) -> None:
    said = running.admin.run("rollout", "status", os.fsdecode(b"caf\xe9"), status=2)
    assert said == "error: 'caf\\udce9': expected text in UTF-8, found other bytes in it\n"


def test_labels_that_hide_something_are_refused(running: Served) -> None:
    headers = {"Authorization": f"Bearer {running.token}"}
    path = f"{running.url}/api/v1/devices/gate/labels"
    response = urllib3.request("PATCH", path, json={"put": {"site": "a\u202eb"}}, headers=headers)
    assert response.status == 400
    assert "expected letters that can be seen" in response.json()["error"]["message"]


def test_a_device_is_asked_to_act_and_its_answer_waited_for(running: Served, join_running: Join) -> None:
    admin, device = running.admin, join_running("gate", action_faults={"selftest": "output probs: expected 0.25"})
    done = admin.json("devices", "act", device.id, "prune", "--wait")
    assert (done["action"]["kind"], done["ok"]) == ("prune", True)
    failed = admin.attempt("devices", "act", device.id, "selftest", "--model", "digits", "--wait")
    assert failed.returncode == 1
    assert failed.stdout == f"{device.id}: selftest digits: failed: output probs: expected 0.25\n"
    device.silent = True
    assert admin.run("devices", "act", device.id, "restart") == f"{device.id}: restart: not done yet\n"
    late = admin.run("devices", "act", device.id, "diagnose", "--wait", "--timeout", "1s", status=1)
    assert "no result of diagnose within 1 s; it is done when the device is there" in late
    listed = admin.json("devices", "actions", device.id)
    assert [(one["action"]["kind"], one["ok"]) for one in listed] == [
        ("diagnose", None),
        ("restart", None),
        ("selftest", False),
        ("prune", True),
    ]
    assert re.search(r"selftest digits: failed: output probs", admin.run("devices", "actions", device.id))
    assert "about the whole device" in admin.run("devices", "act", device.id, "prune", "--model", "m", status=1)


def test_metrics_tell_what_the_running_manager_hears(running: Served, join_running: Join) -> None:
    def scraped() -> str:
        headers = {"Authorization": f"Bearer {running.token}"}
        return urllib3.request("GET", f"{running.url}/metrics", headers=headers).data.decode()

    def reports() -> float:
        found = re.search(r'edgemm_fleet_messages_total\{result="received_reported"\} (\S+)', scraped())
        return float(found[1]) if found else 0.0

    before = reports()
    join_running("gate")
    eventually(lambda: reports() > before, "its report is counted")
    assert "edgemm_fleet_broker_connected 1.0" in scraped()


def test_people_come_and_go(running: Served, tmp_path: Path) -> None:
    made = running.admin.json("people", "add", "vic", "--role", "viewer", "--ttl", "1h")
    vic = Person(tmp_path / "vic")
    assert "as vic (viewer)" in vic.run("login", running.url, "--token", made["token"])
    assert "needs the role of operator or admin" in vic.run("token", "create", status=1)
    running.admin.run("people", "revoke", made["record"]["id"])
    assert "edgemm fleet login" in vic.run("devices", status=1)
    assert "revoked" in running.admin.run("people", "list")


def test_the_line_for_a_device_can_be_pasted(running: Served) -> None:
    lines = running.admin.run("token", "create", "--uses", "2").splitlines()
    assert len(lines) == 1
    assert re.fullmatch(rf"edgemm run --fleet {re.escape(running.url)} --token emt1_\S+", lines[0])
    parse_token(lines[0].split()[-1])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_it_cleanly(served: Served, number: Signals, status: int) -> None:
    assert served.stop(number) == status
    assert served.said[:1] == [f"page {served.url}/"]
    assert not any("Traceback" in line for line in served.said)


def test_it_says_where_page_api_and_broker_are(served: Served) -> None:
    assert served.said[:2] == [f"page {served.url}/", f"API {served.url}/api/v1"]
    assert re.fullmatch(r"broker mqtt://127\.0\.0\.1:\d+", served.said[2])
    host, port = served.said[2].removeprefix("broker mqtt://").split(":")
    socket.create_connection((host, int(port))).close()
    assert urllib3.request("GET", f"{served.url}/").status == 200


def test_with_port_0_it_takes_a_free_one_and_tells_it_to_everybody(tmp_path: Path) -> None:
    fleet = init(tmp_path / "fleet")
    fleet.start("--listen", "127.0.0.1:0")
    try:
        url = fleet.said[0].removeprefix("page ").rstrip("/")
        assert re.fullmatch(r"https://127\.0\.0\.1:\d+", url)
        assert url not in {fleet.url, "https://127.0.0.1:0"}
        fleet.admin.run("login", url, "--token", fleet.token)
        assert f"edgemm run --fleet {url} --token " in fleet.admin.run("token", "create")
    finally:
        assert fleet.stop(signal.SIGTERM) == 0


def test_over_tls_the_token_is_all_that_is_needed(tmp_path: Path) -> None:
    fleet = init(tmp_path / "fleet")
    fleet.start("--no-page")
    try:
        assert not any(line.startswith("page") for line in fleet.said)
        assert "logged in to fleet plant as admin" in fleet.admin.run("login", fleet.url, "--token", fleet.token)
        assert "published" in fleet.admin.run("publish", bundle(tmp_path, "1.0.0"))
        stranger = Person(tmp_path / "stranger")
        wrong = stranger.run("login", fleet.url, "--token", fleet.token, "--fingerprint", "0" * 64, status=1)
        assert "its certificate is not the one that the token pins" in wrong
    finally:
        assert fleet.stop(signal.SIGTERM) == 0


def test_a_second_server_and_a_taken_port_are_one_clear_line(served: Served, tmp_path: Path) -> None:
    assert "another `edgemm fleet serve` uses this folder" in served.admin.run(
        "serve", str(served.folder), "--broker", "embedded:0", status=1
    )
    other: Served = init(tmp_path / "other", scheme="http")
    taken = served.url.rsplit(":", 1)[1]
    said = other.admin.run("serve", str(other.folder), "--listen", taken, "--broker", "embedded:0", status=1)
    assert said.startswith(f"error: cannot listen on 127.0.0.1:{taken}: Address already in use; ")
    broker = served.said[2].rsplit(":", 1)[1]
    said = other.admin.run("serve", str(other.folder), "--broker", f"embedded:{broker}", status=1)
    assert f"the embedded broker cannot listen on 127.0.0.1:{broker}" in said


def test_help_loads_neither_flask_nor_a_database() -> None:
    code = (
        "import sys\nfrom edgemm.cli import run\nrun(['fleet', '--help'])\n"
        "print([m for m in ('flask', 'sqlalchemy', 'tuf', 'paho', 'amqtt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_sighup_takes_the_certificate_that_lies_in_the_folder(tmp_path: Path) -> None:
    fleet = init(tmp_path / "fleet")
    fleet.start()
    assert fleet.process is not None
    try:
        certificate, key = fleet.folder / "tls" / "certificate.pem", fleet.folder / "tls" / "key.pem"
        before = certificate.read_text()
        create_certificate(certificate, key, names=["127.0.0.1"], now=datetime.now(UTC))
        fleet.process.send_signal(signal.SIGHUP)
        _, port = fleet.url.rpartition("/")[2].split(":")
        eventually(
            lambda: ssl.get_server_certificate(("127.0.0.1", int(port))).strip() == certificate.read_text().strip(),
            "the new certificate is shown",
        )
        renewed = certificate.read_text().strip()
        assert renewed != before.strip()
        certificate.write_text("none")
        fleet.process.send_signal(signal.SIGHUP)
        assert ssl.get_server_certificate(("127.0.0.1", int(port))).strip() == renewed
    finally:
        assert fleet.stop(signal.SIGTERM) == 0
    assert any("certificate not renewed" in line for line in fleet.said)
