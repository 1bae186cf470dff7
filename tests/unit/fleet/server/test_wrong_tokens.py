"""Wrong tokens: counted by address and by token; right ones pass whatever comes from their address."""

from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.transport.request_head import Head
from edgemm.trust.enrolment import ENROL_PATH, EnrolmentRequest, parse_token
from edgemm.trust.signing import PayloadType, key_document, seal
from edgemm_fleet.api.table import routes
from edgemm_fleet.http.lanes import Lane
from edgemm_fleet.secrets.person_tokens import token_hash
from edgemm_fleet.secrets.wrong_tokens import WrongTokenLimits, WrongTokens
from edgemm_fleet.server.request_lanes import RequestLanes
from tests.unit.fleet.api.servers import RunningFleet

LIMITS = WrongTokenLimits(of_address=4, per_s=0.5, of_token=2, token_s=60, addresses=3, tokens=10)


def test_an_address_has_a_budget_that_fills_again() -> None:
    known = WrongTokens(LIMITS)
    waits = [known.failed("a", f"token {number}", now_s=0) for number in range(6)]
    assert waits == [0, 0, 0, 0, 2, 4]
    assert known.failed("b", "another", now_s=0) == 0
    assert known.failed("a", "later", now_s=60) == 0


def test_a_token_that_failed_often_is_refused_unread_for_a_while() -> None:
    known = WrongTokens(LIMITS)
    known.failed("a", "wrong", now_s=0)
    assert known.wait_s("wrong", now_s=0) == 0
    known.failed("b", "wrong", now_s=10)
    assert (known.wait_s("wrong", now_s=10), known.wait_s("other", now_s=10)) == (60, 0)
    assert known.wait_s("wrong", now_s=70) == 0
    assert known.failed("a", "wrong", now_s=70) == 0


def test_a_token_that_was_right_is_never_doubted() -> None:
    known = WrongTokens(LIMITS)
    known.passed("right")
    assert not known.doubtful("a", "new", now_s=0)
    for number in range(5):
        known.failed("a", f"token {number}", now_s=0)
    assert known.doubtful("a", "new", now_s=0)
    assert not known.doubtful("a", "right", now_s=0)
    assert not known.doubtful("b", "new", now_s=0)
    assert not known.doubtful("a", "new", now_s=60)


def test_what_is_remembered_is_bounded() -> None:
    known = WrongTokens(LIMITS)
    for number in range(1000):
        known.failed(f"address {number}", f"token {number}", now_s=0)
        known.passed(f"right {number}")
    assert known.doubtful("address 999", "new", now_s=0) is False
    assert [len(table) for table in (known._addresses, known._wrong, known._right)] == [3, 10, 10]


LANES = {
    ("GET", "/api/v1/health"): Lane.PUBLIC,
    ("HEAD", "/api/v1/health/"): Lane.PUBLIC,
    ("GET", "/"): Lane.PUBLIC,
    ("GET", "/page/page.js"): Lane.PUBLIC,
    ("POST", "/api/v1/enrol"): Lane.ENROLMENT,
    ("GET", "/api/v1/devices"): Lane.PEOPLE,
    ("GET", "/api/v1/devices/one"): Lane.PEOPLE,
    ("POST", "/api/v1/rollouts"): Lane.PEOPLE,
    ("GET", "/metrics"): Lane.PEOPLE,
    ("GET", f"/api/v1/blobs/{'0' * 64}"): Lane.DEVICES,
    ("GET", "/tuf/metadata/timestamp.json"): Lane.DEVICES,
    ("GET", "/tuf/targets/models/tiny/x.json"): Lane.DEVICES,
    ("PUT", f"/api/v1/blobs/{'0' * 64}"): Lane.UPLOADS,
}


@pytest.mark.parametrize("asked", LANES)
def test_each_route_has_its_lane(asked: tuple[str, str]) -> None:
    known = WrongTokens(LIMITS)
    lanes = RequestLanes(routes(), known, monotonic=lambda: 0)
    method, path = asked
    head = Head(method, path, headers={"authorization": "Bearer t"})
    assert lanes(head, "a") is LANES[asked]
    for number in range(9):
        known.failed("a", f"token {number}", now_s=0)
    expected = LANES[asked] if LANES[asked] in {Lane.PUBLIC, Lane.ENROLMENT} else Lane.DOUBTFUL
    assert lanes(head, "a") is expected
    known.passed(token_hash("t"))
    assert lanes(head, "a") is LANES[asked]


def test_guesses_are_refused_and_right_tokens_pass(fleet: RunningFleet) -> None:
    statuses = [fleet.request("GET", "/api/v1/me", token=f"guess {number}").status for number in range(60)]
    assert statuses[0] == 401
    assert set(statuses[40:]) == {429}
    refused = fleet.request("GET", "/api/v1/me", token="one more")
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert int(refused.headers["Retry-After"]) > 0
    for role in ("viewer", "admin"):
        assert fleet.request("GET", "/api/v1/me", token=role).status == 200
    assert fleet.request("GET", "/api/v1/health", token=None).status == 200


def test_one_wrong_token_again_and_again_is_refused_unread(fleet: RunningFleet) -> None:
    statuses = [fleet.request("GET", "/api/v1/me", token="revoked").status for _ in range(6)]
    assert statuses == [401, 401, 401, 429, 429, 429]
    assert fleet.request("GET", "/api/v1/me", token="another").status == 401


def test_guesses_of_enrolment_tokens_are_refused(fleet: RunningFleet) -> None:
    signer = CryptoSigner.generate_ed25519()

    def enrol(secret: str) -> int:
        document = key_document(signer.public_key)
        request = EnrolmentRequest(secret=secret, public_key=document, name="one", runtime="0.1.0")
        body = seal(request, PayloadType.ENROLMENT, signer)
        return fleet.request("POST", ENROL_PATH, token=None, body=body).status

    statuses = [enrol(f"{number:032x}") for number in range(40)]
    assert (statuses[0], statuses[-1]) == (403, 429)
    token = fleet.request("POST", "/api/v1/tokens", token="operator", json={"uses": 1}).json()["token"]
    assert enrol(parse_token(token).secret.hex()) == 200
