"""A role that a later manager gave: it is shown, and grants nothing."""

import json

from sqlalchemy import update

from edgemm_fleet.store import schema
from tests.unit.fleet.api.servers import RunningFleet


def test_a_role_that_is_not_known_is_shown_and_grants_nothing(fleet: RunningFleet) -> None:
    with fleet.state.store.write() as tx:
        mine = schema.person_tokens.c.person == "operator-person"
        tx.execute(update(schema.person_tokens).where(mine).values(role="auditor"))
    for method, path in (("GET", "/api/v1/devices"), ("GET", "/api/v1/me"), ("POST", "/api/v1/tokens")):
        answer = fleet.request(method, path, token="operator", body=b"{}")
        assert answer.status == 403, path
        assert "this token has auditor" in json.loads(answer.data)["error"]["message"]
    people = json.loads(fleet.request("GET", "/api/v1/people").data)["items"]
    assert {one["role"] for one in people} == {"admin", "auditor", "publisher", "viewer"}


def test_nobody_can_be_given_a_role_that_is_not_known(fleet: RunningFleet) -> None:
    body = json.dumps({"person": "ann", "role": "auditor"}).encode()
    answer = fleet.request("POST", "/api/v1/people", body=body)
    assert answer.status == 400
    assert "role auditor: expected one of admin, operator, publisher, viewer" in answer.data.decode()


def test_nobody_can_ask_for_a_rollout_that_needs_what_is_not_known(fleet: RunningFleet) -> None:
    for field in ({"requires": ["window"]}, {"variants": "fastest"}):
        body = json.dumps({"model": "digits", "version": "1.0.0", **field}).encode()
        assert fleet.request("POST", "/api/v1/rollouts", body=body).status == 400
