import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import msgspec.structs
import pytest
from msgspec.structs import replace
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from edgemm.canonical import sha256
from edgemm.messages import Reported, most_boots
from edgemm.trust.enrolment import EnrolmentToken, parse_token
from edgemm.trust.signing import PayloadType, key_document
from edgemm_fleet.api.enrolment import device_id
from edgemm_fleet.broker import EmbeddedCredentials
from edgemm_fleet.broker.gathered_write import GatheredWrite, Told
from edgemm_fleet.records.records import Presence
from edgemm_fleet.records.report_order import Verdict
from edgemm_fleet.store import devices, reported
from edgemm_fleet.trust.ceremony import Replacement, propose, sign_here
from simulators.waiting import eventually
from tests.unit.fleet.api.servers import RunningFleet


@pytest.fixture
def signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def make_token(fleet: RunningFleet, **request: object) -> EnrolmentToken:
    response = fleet.request("POST", "/api/v1/tokens", token="operator", body=json.dumps(request))
    assert response.status == 201
    return parse_token(json.loads(response.data)["token"])


def enrol(
    fleet: RunningFleet, token: EnrolmentToken, signer: CryptoSigner, **changes: object
) -> tuple[int, dict[str, Any]]:
    request: dict[str, object] = {
        "v": 1,
        "secret": token.secret.hex(),
        "public_key": key_document(signer.public_key),
        "name": "Kitchen Pi",
        "labels": {"room": "kitchen", "site": "here"},
        "runtime": "0.1.0",
        "platform": "linux-aarch64",
    }
    return send(fleet, request | changes, signer)


def send(fleet: RunningFleet, request: dict[str, object], signer: CryptoSigner) -> tuple[int, dict[str, Any]]:
    envelope = Envelope(json.dumps(request).encode(), PayloadType.ENROLMENT.value, {})
    envelope.sign(signer)
    response = fleet.request("POST", "/api/v1/enrol", token=None, body=json.dumps(envelope.to_dict()))
    return response.status, json.loads(response.data)


def error(answer: dict[str, Any]) -> str:
    return str(answer["error"]["message"])


def test_a_device_joins_with_a_readable_id_and_all_that_it_needs(fleet: RunningFleet, signer: CryptoSigner) -> None:
    token = make_token(fleet, labels={"site": "north"})
    status, answer = enrol(fleet, token, signer)
    assert status == 200
    assert answer["device"] == f"kitchen-pi-{signer.public_key.keyid[:8]}"
    assert answer["fleet"] == "plant"
    assert sha256(answer["root"].encode()) == token.root_digest
    assert answer["broker"]["username"] == answer["device"]
    shown = json.loads(fleet.request("GET", f"/api/v1/devices/{answer['device']}").data)["device"]
    assert shown["labels"] == {"room": "kitchen", "site": "north"}
    assert fleet.request("GET", "/tuf/metadata/timestamp.json", token=answer["bearer"]).status == 200
    assert fleet.request("GET", "/api/v1/devices", token=answer["bearer"]).status == 403


def test_a_token_of_before_the_keys_were_replaced_lets_in_by_the_root_that_it_pins(
    fleet: RunningFleet, signer: CryptoSigner
) -> None:
    before, now, repository = make_token(fleet), datetime.now(UTC), fleet.state.repository
    made = sign_here(repository, propose(repository, {"root": Replacement()}, now=now), keys=())
    repository.apply(made, now=now)
    after = make_token(fleet)
    assert after.root_digest != before.root_digest
    for token, key in ((before, signer), (after, CryptoSigner.generate_ed25519())):
        status, answer = enrol(fleet, token, key)
        assert status == 200
        assert sha256(answer["root"].encode()) == token.root_digest


def test_the_same_token_and_key_get_the_same_answer_after_the_token_is_used_up_and_expired(
    fleet: RunningFleet, signer: CryptoSigner
) -> None:
    token = make_token(fleet, uses=1, ttl_s=60)
    first = enrol(fleet, token, signer)
    assert enrol(fleet, token, signer) == first
    fleet.clock.ahead_s = 61
    assert enrol(fleet, token, signer) == first
    assert len(json.loads(fleet.request("GET", "/api/v1/devices").data)["items"]) == 1


def test_a_token_lets_in_as_many_devices_as_it_says(fleet: RunningFleet, signer: CryptoSigner) -> None:
    token = make_token(fleet, uses=2)
    assert enrol(fleet, token, signer)[0] == 200
    assert enrol(fleet, token, CryptoSigner.generate_ed25519())[0] == 200
    status, answer = enrol(fleet, token, CryptoSigner.generate_ed25519())
    assert status == 403
    assert "good for 2 devices and used by as many; create another one" in error(answer)


def test_an_expired_a_revoked_and_an_unknown_token_let_nobody_in(fleet: RunningFleet, signer: CryptoSigner) -> None:
    expired = make_token(fleet, ttl_s=60)
    revoked = make_token(fleet)
    assert fleet.request("DELETE", f"/api/v1/tokens/{revoked.id}").status == 204
    assert "was revoked" in error(enrol(fleet, revoked, signer)[1])
    fleet.clock.ahead_s = 61
    assert "has expired" in error(enrol(fleet, expired, signer)[1])
    status, answer = enrol(fleet, expired, signer, secret="0" * 32)
    assert status == 403
    assert "unknown to this fleet" in error(answer)


def test_a_removed_device_loses_every_right_and_needs_another_token(fleet: RunningFleet, signer: CryptoSigner) -> None:
    token = make_token(fleet, uses=5)
    _, answer = enrol(fleet, token, signer)
    device = answer["device"]
    assert fleet.request("DELETE", f"/api/v1/devices/{device}", token="operator").status == 204
    assert fleet.request("GET", "/tuf/metadata/timestamp.json", token=answer["bearer"]).status == 401
    assert fleet.request("GET", f"/api/v1/devices/{device}").status == 404
    status, refused = enrol(fleet, token, signer)
    assert status == 403
    assert "it was removed from the fleet" in error(refused)
    status, again = enrol(fleet, make_token(fleet), signer)
    assert status == 200
    assert again["device"] == device
    assert again["bearer"] != answer["bearer"]
    assert again["broker"]["password"] != answer["broker"]["password"]


def test_a_device_that_lost_its_answer_joins_again_with_a_new_token_under_its_old_id(
    fleet: RunningFleet, signer: CryptoSigner
) -> None:
    _, first = enrol(fleet, make_token(fleet), signer)
    _, second = enrol(fleet, make_token(fleet), signer, name="renamed")
    assert second["device"] == first["device"]
    assert fleet.request("GET", "/tuf/metadata/timestamp.json", token=first["bearer"]).status == 401
    assert fleet.request("GET", "/tuf/metadata/timestamp.json", token=second["bearer"]).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"secret": "xyz"},
        {"public_key": []},
        {"name": "x" * 500},
        {"runtime": "new"},
        {"labels": {"a": 1}},
    ],
)
def test_a_malformed_request_is_400(fleet: RunningFleet, signer: CryptoSigner, change: dict[str, object]) -> None:
    status, answer = enrol(fleet, make_token(fleet), signer, **change)
    assert status == 400
    assert answer["error"]["code"] == "bad_request"


@pytest.mark.parametrize("key", [{}, {"keytype": "rsa", "scheme": "rsa", "keyval": {}}, {"keytype": "ed25519"}])
def test_what_is_no_ed25519_key_is_refused(fleet: RunningFleet, signer: CryptoSigner, key: dict[str, object]) -> None:
    status, answer = enrol(fleet, make_token(fleet), signer, public_key=key)
    assert status == 403
    assert "ed25519" in error(answer)


@pytest.mark.sqlite
def test_bearers_and_passwords_are_in_the_database_only_as_hashes(fleet: RunningFleet, signer: CryptoSigner) -> None:
    token = make_token(fleet)
    _, answer = enrol(fleet, token, signer)
    stored = b"".join(path.read_bytes() for path in fleet.folder.root.glob("fleet.db*"))
    for secret in (answer["bearer"], answer["broker"]["password"], token.secret.hex(), str(token)):
        assert secret.encode() not in stored
    assert answer["device"].encode() in stored


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Kitchen Pi", "kitchen-pi-0123abcd"),
        ("", "device-0123abcd"),
        ("Käfer_7", "k-fer-7-0123abcd"),
        ("-" * 90, "device-0123abcd"),
    ],
)
def test_device_ids_are_readable(name: str, expected: str) -> None:
    assert device_id(name, "0123abcd" + "f" * 56) == expected


def test_labels_are_set_and_taken_off(fleet: RunningFleet, signer: CryptoSigner) -> None:
    _, answer = enrol(fleet, make_token(fleet), signer)
    path = f"/api/v1/devices/{answer['device']}/labels"
    response = fleet.request("PATCH", path, body=json.dumps({"put": {"ring": "canary"}, "drop": ["site"]}))
    assert json.loads(response.data)["labels"] == {"room": "kitchen", "ring": "canary"}
    many = json.dumps({"put": {f"l{n}": "x" for n in range(32)}})
    assert fleet.request("PATCH", path, body=many).status == 400


def test_nobody_enrols_as_a_key_that_they_do_not_hold(fleet: RunningFleet, signer: CryptoSigner) -> None:
    token = make_token(fleet, uses=2)
    _, own = enrol(fleet, token, signer)
    thief = CryptoSigner.generate_ed25519()
    status, answer = enrol(fleet, token, thief, public_key=key_document(signer.public_key))
    assert status == 403
    assert "not signed by the key" in error(answer)
    assert own["bearer"] not in json.dumps(answer)


def test_a_stranger_with_an_unknown_token_waits_for_no_writer_and_holds_up_none(
    fleet: RunningFleet, signer: CryptoSigner
) -> None:
    known = make_token(fleet)
    unknown = msgspec.structs.replace(known, secret=bytes(len(known.secret)))
    with fleet.state.store.write():  # such as an ingest of a thousand messages
        status, answer = enrol(fleet, unknown, signer)
    assert (status, error(answer)[:40]) == (403, "enrolment token: unknown to this fleet; ")
    assert enrol(fleet, known, signer)[0] == 200


@pytest.mark.parametrize("removed", [True, False])
def test_an_enrolment_anew_shuts_out_who_is_in_and_forgets_what_was_said(
    fleet: RunningFleet, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    device = enrol(fleet, make_token(fleet), signer)[1]["device"]
    now, boot = fleet.clock(), "f" * 16
    said = Reported(
        fleet="plant",
        device=device,
        boot=boot,
        boot_count=most_boots(now),
        sequence=1,
        time="2026-12-01T00:00:00Z",
        clock_synced=True,
        generation=1,
        runtime="0.1.0",
    )
    with fleet.state.store.write() as tx:
        devices.set_presence(tx, device, Presence(online=True, boot=boot, boot_count=most_boots(now), connection=7))
        assert reported.put(tx, said, now=now) is Verdict.NEWER
    if removed:
        fleet.request("DELETE", f"/api/v1/devices/{device}", token="operator")
    allowed: list[bool] = []

    def refresh(_: EmbeddedCredentials) -> None:
        with fleet.state.store.read() as tx:
            allowed.append(devices.broker_hash(tx, device) is not None)

    def admit(credentials: EmbeddedCredentials, told: Told) -> None:
        refresh(credentials)
        told(None)

    monkeypatch.setattr(EmbeddedCredentials, "refresh", refresh)
    monkeypatch.setattr(EmbeddedCredentials, "admit", admit)
    token = make_token(fleet)
    status, again = enrol(fleet, token, signer)
    assert (status, again["device"]) == (200, device)
    assert allowed == ([True] if removed else [False, True])
    with fleet.state.store.write() as tx:
        presence = devices.get(tx, device).presence
        assert replace(presence, doubted_at=None) == Presence()
        assert reported.find(tx, device) is None
        devices.set_presence(tx, device, Presence(online=True, boot=boot))
    assert enrol(fleet, token, signer)[1] == again
    with fleet.state.store.read() as tx:
        assert devices.get(tx, device).presence.boot == boot, "the same token and key are the same enrolment"
    assert allowed[-1:] == [True]


class GatheredCredentials(EmbeddedCredentials):
    """A broker whose files are written when `may_write` is set, for all who wait together."""

    may_write = threading.Event()
    written = GatheredWrite(lambda: _waited(GatheredCredentials.may_write))

    def refresh(self) -> None:
        self.written.ask()

    def admit(self, told: Told) -> None:
        self.written.tell(told)

    shut_out = admit


def _waited(event: threading.Event) -> None:
    assert event.wait(60)


def test_devices_that_come_in_anew_hold_no_thread_while_the_brokers_files_are_written(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    signers = [CryptoSigner.generate_ed25519() for _ in range(40)]
    before = [enrol(fleet, make_token(fleet), signer)[1] for signer in signers]
    token = make_token(fleet, uses=len(signers))
    for name in ("refresh", "admit", "shut_out"):
        monkeypatch.setattr(EmbeddedCredentials, name, getattr(GatheredCredentials, name), raising=False)
    monkeypatch.setattr(EmbeddedCredentials, "written", GatheredCredentials.written, raising=False)
    with ThreadPoolExecutor(len(signers)) as pool:
        anew = [pool.submit(enrol, fleet, token, signer) for signer in signers]
        try:
            eventually(lambda: GatheredCredentials.written.waiting >= len(signers) - 1, "all wait for one write")
            assert fleet.request("GET", "/api/v1/health").status == 200
            assert not any(one.done() for one in anew)
        finally:
            GatheredCredentials.may_write.set()
    answers = [one.result() for one in anew]
    assert [status for status, _ in answers] == [200] * len(signers)
    assert [answer["device"] for _, answer in answers] == [answer["device"] for answer in before]
    assert not {answer["bearer"] for _, answer in answers} & {answer["bearer"] for answer in before}


def test_a_token_that_ends_while_who_is_in_is_shut_out_is_refused(
    fleet: RunningFleet, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(fleet, make_token(fleet), signer)
    token = make_token(fleet)

    def shut_out(_: EmbeddedCredentials, told: Told) -> None:
        fleet.request("DELETE", f"/api/v1/tokens/{token.id}")
        told(None)

    monkeypatch.setattr(EmbeddedCredentials, "shut_out", shut_out)
    status, answer = enrol(fleet, token, signer)
    assert (status, "was revoked" in error(answer)) == (403, True)


def test_a_token_that_no_longer_holds_shuts_nobody_out(fleet: RunningFleet, signer: CryptoSigner) -> None:
    _, first = enrol(fleet, make_token(fleet), signer)
    revoked = make_token(fleet)
    fleet.request("DELETE", f"/api/v1/tokens/{revoked.id}")
    assert enrol(fleet, revoked, signer)[0] == 403
    assert fleet.request("GET", "/tuf/metadata/timestamp.json", token=first["bearer"]).status == 200


def test_an_unreadable_key_is_written_anew(fleet: RunningFleet, signer: CryptoSigner) -> None:
    device = enrol(fleet, make_token(fleet), signer)[1]["device"]
    with fleet.state.store.write() as tx:
        tx.exec_driver_sql("UPDATE devices SET key_json = '}'")
    assert "key" in json.loads(fleet.request("GET", f"/api/v1/devices/{device}").data)["unreadable"]
    assert enrol(fleet, make_token(fleet), signer)[0] == 200
    shown = json.loads(fleet.request("GET", f"/api/v1/devices/{device}").data)
    assert shown["device"]["key"] == key_document(signer.public_key)
    assert not shown["unreadable"]
