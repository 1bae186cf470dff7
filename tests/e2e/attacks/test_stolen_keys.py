"""Who has stolen a key, a card or a token, or has listened while they were used."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from securesystemslib.signer import CryptoSigner

from edgemm import times
from edgemm.messages import Desired, DesiredModel, Event, Reported
from edgemm.topics import Channel
from edgemm.trust import signing
from edgemm.trust.enrolment import ENROL_PATH, EnrolmentRequest
from edgemm.trust.signing import PayloadType
from simulators.lying_broker import Packet
from simulators.models import make_bundle
from simulators.waiting import eventually
from tests.e2e.attacks.attacked import AttackedFleet, Victim
from tests.e2e.processes import Place, refuses

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.service]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[AttackedFleet]:
    with AttackedFleet(tmp_path_factory.mktemp("keys")) as fleet:
        yield fleet.up_with_liars(mosquitto)


@pytest.fixture(autouse=True)
def serving(attacked: AttackedFleet) -> Iterator[None]:
    """Predictions are answered through every attack."""
    with attacked.serving():
        yield
    attacked.liar.be_honest()


def signed(fleet: AttackedFleet, device: Victim, *models: DesiredModel, holds_s: int = 86_400) -> bytes:
    """Return the next `desired` of a device, signed by the director's stolen key."""
    reported, now = device.report()["reported"], int(time.time())
    wish = Desired(
        fleet=fleet.name, device=device.id, generation=reported["generation"] + 1, models=models,
        not_before=times.to_text(now - 86_400), expires=times.to_text(now + holds_s),
    )  # fmt: skip
    return signing.seal(wish, PayloadType.DESIRED, signing.load_key(fleet.folder / "keys" / "director.pem"))


def wanted(version: str, digest: str, attempt: int = 7) -> DesiredModel:
    """Return what a `desired` says of the model; the attempt is above all that the manager made."""
    return DesiredModel(name="tiny", version=version, digest=digest, attempt=attempt)


def listening(fleet: AttackedFleet, channel: Channel) -> list[bytes]:
    """Return a list to which the liar adds the payloads of a channel's messages to devices, as it carries them."""
    heard: list[bytes] = []

    def note(packet: Packet) -> tuple[bytes]:
        if packet.to_client and packet.topic.endswith(f"/{channel}"):
            heard.append(packet.body[2 + len(packet.topic) + 2 :])  # every such message is of QoS 1
        return (packet.raw,)

    fleet.liar.lie = note
    return heard


def test_replay_of_desired(attacked: AttackedFleet) -> None:
    device = attacked.victim("replayed-to")
    heard = listening(attacked, Channel.DESIRED)
    assert attacked.give(attacked.publish_next(), device)[0] == "committed"
    old = heard[-1]
    version = attacked.heals(device)
    generation = device.report()["reported"]["generation"]
    attacked.forge(device, Channel.DESIRED, old)
    device.program.wait_for("(desired answer=desired_older)")
    device.kill()
    device.start().wait_until_ready()
    device.program.wait_for("(connected)")
    attacked.forge(device, Channel.DESIRED, old)
    device.program.wait_for("(desired answer=desired_older)")
    # One that was kept from it until it no longer holds.
    attacked.forge(device, Channel.DESIRED, signed(attacked, device, holds_s=-60))
    eventually(lambda: "desired_expired" in device.refusals(), "it tells that this came too late")
    assert device.version() == version
    assert device.report()["reported"]["generation"] == generation


def test_wrong_device(attacked: AttackedFleet, tmp_path: Path) -> None:
    one, other = attacked.victims
    heard = listening(attacked, Channel.DESIRED)
    assert attacked.give(attacked.publish_next(), other)[0] == "committed"
    before = one.version()
    attacked.forge(one, Channel.DESIRED, heard[-1])
    eventually(lambda: "desired_foreign" in one.refusals(), "it tells that it got another device's")
    report = signing.seal(
        msgspec.convert(other.report()["reported"] | {"sequence": 2**40}, Reported), PayloadType.REPORTED, other.key
    )
    refused = _refused(attacked, "untrusted")
    attacked.forge(one, Channel.REPORTED, report)
    eventually(lambda: _refused(attacked, "untrusted") > refused, "the manager refuses another device's report")
    bundle = tmp_path / "gate.edgemm"
    make_bundle(bundle, name="gate", version="1.0.0", seed=5)
    attacked.ok("publish", bundle)
    # The director's signature makes no model out of another one: the publisher signed this digest as `gate`.
    attacked.liar.withhold(lambda packet: packet.client == one.id and packet.topic.endswith("/desired"))
    attacked.forge(one, Channel.DESIRED, signed(attacked, one, wanted(before, attacked.digest_of("1.0.0", "gate"))))
    one.program.wait_for("(failures=3 error=models/tiny/.*the publisher signed)")
    assert one.version() == before
    attacked.heals(one)


def test_stolen_director_key(attacked: AttackedFleet) -> None:
    """It moves a device among published versions at or above the signed minimum, and no further."""
    device = attacked.victims[1]
    old, version = attacked.heals(device), attacked.publish_next()
    attacked.publish_next("--minimum-version", version)
    assert attacked.give(version, device)[0] == "committed"
    for model, reason in (
        (wanted("6.6.6", "6" * 64), "untrusted"),
        (wanted(version, "7" * 64), "untrusted"),
        (wanted(old, attacked.digest_of(old)), "below_minimum_version"),
    ):
        # The thief rules the broker too: alone, each forgery is countermanded before it is tried a second time.
        attacked.liar.withhold(lambda packet: packet.client == device.id and packet.topic.endswith("/desired"))
        attacked.forge(device, Channel.DESIRED, signed(attacked, device, model))
        device.program.wait_for(rf"(tiny version={model.version} digest={model.digest[:12]} .* cause={reason})")
        assert device.version() == version
        generation = device.report()["reported"]["generation"]
        attacked.liar.let_go()
        eventually(lambda: device.report()["reported"]["generation"] > generation, "the manager writes over it")  # noqa: B023 - called at once
    attacked.heals(device)


def test_stolen_publisher_key_and_token(attacked: AttackedFleet) -> None:
    """They make versions of that publisher's models, which still have to pass; nothing else."""
    version, before = attacked.publish_next(), [device.version() for device in attacked.victims]
    others = Place.make(attacked.place.folder / "other-publisher")
    thief = Place.make(attacked.place.folder / "thief")
    for name, place in (("olga", others), ("eve", thief)):
        made = attacked.json("people", "add", name, "--role", "publisher")
        assert attacked.run("login", attacked.url, "--token", made["token"], at=place).status == 0
    config = attacked.place.home / ".config" / "edgemm"
    shutil.copy(config / "publisher.pem", thief.home / ".config" / "edgemm")
    make_bundle(others.folder / "theirs.edgemm", name="theirs", version="1.0.0")
    assert attacked.run("publish", "theirs.edgemm", at=others).status == 0
    make_bundle(thief.folder / "theirs.edgemm", name="theirs", version="1.0.1", seed=3)
    refuses(attacked.run("publish", "theirs.edgemm", at=thief), 1, "theirs")
    make_bundle(thief.folder / "changed.edgemm", version=version, seed=77)
    refuses(attacked.run("publish", "changed.edgemm", at=thief), 1, version)
    make_bundle(thief.folder / "bad.edgemm", version="2.9.0", scramble=True)
    assert attacked.run("publish", "bad.edgemm", at=thief).status == 0
    refuses(attacked.run("rollout", "create", "tiny", "2.9.0", at=thief), 1, "role")
    refuses(attacked.run("token", "create", at=thief), 1, "role")
    attacked.rollout("2.9.0", "--group", "1", "--group", "100%", status=1)
    assert attacked.last_rollout()["state"] == "halted"
    touched = attacked.api(f"/rollouts/{attacked.last_rollout()['id']}/members")["items"]
    assert [member["reason"] for member in touched if member["reason"]] == ["selftest_failed"]
    assert [device.version() for device in attacked.victims] == before


def test_lying_device(attacked: AttackedFleet) -> None:
    """What it says counts for itself alone, and its credentials open nothing that is people's."""
    liar, honest = attacked.victims
    before, true = honest.report(), liar.report()["reported"]
    claims = true | {"models": [m | {"version": "9.9.9", "digest": "9" * 64} for m in true["models"]]}
    lie = msgspec.convert(claims | {"sequence": true["sequence"] + 1}, Reported)
    attacked.forge(liar, Channel.REPORTED, signing.seal(lie, PayloadType.REPORTED, liar.key))
    eventually(lambda: liar.state_of("9.9.9") is not None, "its own record says what it says")
    event = Event(
        fleet=attacked.name, device=honest.id, boot="0" * 16, boot_count=99, sequence=1, floor=1,
        time="2026-01-01T00:00:00Z", uptime_s=1.0, cause="forged",
    )  # fmt: skip
    refused = _refused(attacked, "untrusted")
    attacked.forge(honest, Channel.EVENT, signing.seal(event, PayloadType.EVENT, liar.key))
    eventually(lambda: _refused(attacked, "untrusted") > refused, "it does not speak for another device")
    assert "forged" not in honest.refusals()
    assert honest.report()["reported"]["models"] == before["reported"]["models"]
    bearer = {"Authorization": f"Bearer {liar.identity['bearer']}"}
    for method, path in (("GET", "/devices"), ("POST", "/rollouts"), ("POST", "/tokens"), ("GET", "/audit")):
        answer = urllib3.request(method, f"{attacked.url}/api/v1{path}", headers=bearer, json={})
        assert answer.status in {403, 404, 405}, (path, answer.status)
    attacked.heals(honest)


def test_replayed_enrolment(attacked: AttackedFleet) -> None:
    attacked.repository.posted.clear()
    device = attacked.victim("replayed")
    body = next(body for path, body in attacked.repository.posted if path == ENROL_PATH)
    number = len(attacked.json("devices"))
    again = _enrol(attacked, body)
    assert (again.status, again.json()["device"]) == (200, device.id), "the same key and token: the same device"
    envelope = json.loads(body)
    request, _ = signing.unseal_enrolment(body)
    stranger = CryptoSigner.generate_ed25519()
    stolen = msgspec.structs.replace(request, public_key=signing.key_document(stranger.public_key))
    assert _enrol(attacked, signing.seal(stolen, PayloadType.ENROLMENT, stranger)).status == 403, "it is used up"
    other = json.loads(signing.seal(stolen, PayloadType.ENROLMENT, stranger))
    assert _enrol(attacked, json.dumps(envelope | {"payload": other["payload"]}).encode()).status >= 400
    device.program.terminate()
    attacked.ok("devices", "remove", device.id)
    assert _enrol(attacked, body).status == 403, "it was removed"
    assert len(attacked.json("devices")) == number - 1


def test_brute_force_of_tokens(attacked: AttackedFleet) -> None:
    """Somebody at one address guesses: soon nobody there is listened to, and elsewhere everybody is."""
    with urllib3.PoolManager(source_address=("127.0.0.66", 0), retries=False) as thief:
        for path, method, body in (("/devices", "GET", None), ("/enrol", "POST", _guess())):
            statuses = set()
            for number in range(300):
                headers = {"Authorization": f"Bearer emp1_{number:064x}"}
                answer = thief.request(method, f"{attacked.url}/api/v1{path}", headers=headers, body=body)
                statuses.add(answer.status)
                if answer.status == 429:
                    break
            assert 429 in statuses, (path, statuses)
    assert attacked.json("devices"), "an operator elsewhere is answered"
    attacked.heals(attacked.victims[0])


def _guess() -> bytes:
    key = CryptoSigner.generate_ed25519()
    asked = {
        "secret": "0" * 32, "public_key": signing.key_document(key.public_key), "name": "guess", "runtime": "0.1.0",
    }  # fmt: skip
    return signing.seal(msgspec.convert(asked, EnrolmentRequest), PayloadType.ENROLMENT, key)


def _enrol(fleet: AttackedFleet, body: bytes) -> Any:
    return urllib3.request(
        "POST", f"{fleet.url}{ENROL_PATH}", body=body, headers={"Content-Type": "application/json"}, retries=False
    )


def _refused(fleet: AttackedFleet, why: str) -> float:
    return fleet.metric(f'edgemm_fleet_messages_total{{result="refused_{why}"}}')
