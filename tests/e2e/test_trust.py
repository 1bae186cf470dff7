"""Who may join, who may be believed, and what a device runs: only what a publisher and the director both signed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.trust import enrolment
from simulators.models import make_bundle
from simulators.mqtt import MqttProbe
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.processes import Done, Place, refuses, run_edgemm

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


def _join(fleet: Fleet, token: str, state: Path, *, url: str | None = None) -> Done:
    return run_edgemm(
        "run", "--fleet", url or fleet.url, "--token", token, "--port", "0", "--state-dir", state,
        at=fleet.place, timeout_s=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with one device and one version, which no test here changes."""
    with Fleet(tmp_path_factory.mktemp("gate")) as found:
        found.up().join("one")
        found.publish("1.0.0")
        yield found


def _refuses_to_join(fleet: Fleet, token: str, state: Path, *words: str) -> None:
    before = len(fleet.json("devices"))
    refuses(_join(fleet, token, state), 1, *words)
    assert len(fleet.json("devices")) == before
    assert not (state / "identity.json").exists()


def test_a_token_that_the_fleet_did_not_make_lets_nobody_in(gate: Fleet, tmp_path: Path) -> None:
    forged = enrolment.create_token(root_digest=gate.made["root_digest"], tls_fingerprint=None)
    _refuses_to_join(gate, str(forged), tmp_path, "token")


def test_a_used_token_lets_nobody_else_in(gate: Fleet, tmp_path: Path) -> None:
    token = gate.token()
    Device(gate, "first").start(token=token).program.wait_for("(enrolled)")
    _refuses_to_join(gate, token, tmp_path, "token", "used")


def test_an_expired_token_lets_nobody_in(gate: Fleet, tmp_path: Path) -> None:
    made = gate.json("token", "create", "--ttl", "1s")
    eventually(lambda: time.time() > made["record"]["expires_at"], "the token expired")
    _refuses_to_join(gate, made["token"], tmp_path, "token", "expired")


def test_a_revoked_token_lets_nobody_in(gate: Fleet, tmp_path: Path) -> None:
    made = gate.json("token", "create")
    gate.ok("token", "revoke", made["record"]["id"])
    _refuses_to_join(gate, made["token"], tmp_path, "token", "revoked")


def test_a_token_that_pins_another_root_is_refused(gate: Fleet, tmp_path: Path) -> None:
    token = enrolment.parse_token(gate.token())
    other = enrolment.EnrolmentToken(secret=token.secret, root_digest="0" * 64, tls_fingerprint=None)
    refuses(_join(gate, str(other), tmp_path), 1, "root")
    assert not (tmp_path / "identity.json").exists()


def test_a_state_folder_serves_one_agent(gate: Fleet) -> None:
    state = gate.devices[0].state
    done = run_edgemm("run", "--fleet", gate.url, "--port", "0", "--state-dir", state, at=gate.place)
    refuses(done, 1, str(state))


def test_a_removed_device_loses_its_rights_and_goes_on_serving(fleet: Fleet) -> None:
    kept, removed = fleet.join("kept", "removed")
    fleet.publish("1.0.0")
    fleet.publish("2.0.0")
    fleet.rollout("1.0.0", "--group", "100%")
    fleet.ok("devices", "remove", removed.id)
    rollout = fleet.json("rollout", "create", "tiny", "2.0.0", "--probation", "0s", "--group", "100%", "--start")
    kept.wait_for_state("2.0.0", "committed")
    assert (kept.version(), removed.version()) == ("2.0.0", "1.0.0")
    removed.kill()
    removed.start().wait_until_ready()
    assert removed.version() == "1.0.0"
    removed.program.wait_for("(?i)(refused|not authori[sz]ed|bad user|removed|denied)")
    members = fleet.api(f"/rollouts/{rollout['rollout']['id']}/members")["items"]
    assert [member["device"] for member in members] == [kept.id]
    assert fleet.rollout_state(rollout["rollout"]["id"]) == "finished"


def test_a_server_with_another_certificate_gets_nothing(tmp_path: Path) -> None:
    with Fleet(tmp_path / "real", scheme="https") as real, Fleet(tmp_path / "false", scheme="https") as false:
        real.init()
        false.up()
        real.serve().login()
        done = _join(real, real.token(), tmp_path / "state", url=false.url)
        refuses(done, 1, "certificate")
        assert false.json("devices") == []
        assert real.json("devices") == []
        refuses(false.run("login", false.url, "--token", real.made["token"]), 1, "certificate")


def test_a_version_below_the_signed_minimum_is_refused(fleet: Fleet) -> None:
    [device] = fleet.join("one")
    fleet.publish("1.0.0")
    fleet.publish("2.0.0", "--minimum-version", "2.0.0")
    done = fleet.run("rollout", "create", "tiny", "1.0.0", "--probation", "0s", "--wait")
    refuses(done, 1, "tiny 1.0.0: below 2.0.0, the signed minimum version")
    assert device.predict()[0] != 200
    fleet.rollout("2.0.0")
    assert device.version() == "2.0.0"


ALLOWED = {"viewer": set[str](), "publisher": {"publish"}, "operator": {"rollout", "token"}}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_person_may_do_what_the_role_says_and_no_more(gate: Fleet, role: str, place: Place) -> None:
    made = gate.json("people", "add", "eve", "--role", role)
    assert gate.run("login", gate.url, "--token", made["token"], at=place).status == 0
    assert gate.run("devices", "--json", at=place).json()
    refuses(gate.run("people", "add", "mallory", "--role", "admin", at=place), 1, role)
    make_bundle(place.folder / "new.edgemm", name=f"of-{role}")
    attempts: dict[str, tuple[str, ...]] = {
        "publish": ("publish", "new.edgemm"),
        "rollout": ("rollout", "create", "tiny", "1.0.0"),
        "token": ("token", "create"),
    }
    for name, arguments in attempts.items():
        done = gate.run(*arguments, at=place)
        assert (done.status == 0) == (name in ALLOWED[role]), (role, done)
    gate.ok("people", "revoke", made["record"]["id"])
    refuses(gate.run("devices", at=place), 1, "token")


def test_the_embedded_broker_lets_nobody_in_without_a_password(gate: Fleet) -> None:
    device = gate.devices[0]
    port = int(gate.broker.split(":")[1])
    for name, password in ((None, None), (device.id, "guessed"), ("@manager", ""), ("admin", "admin")):
        probe = MqttProbe(port, client_id="outsider", username=name, password=password)
        assert not probe.connect(), (name, password)
        probe.close()
    assert device.online()
