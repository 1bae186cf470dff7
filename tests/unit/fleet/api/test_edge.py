"""The edge that every request passes: tokens, rights, malformed input, errors of one form, the document."""

import json
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from edgemm import __version__
from edgemm_fleet.api.context import ApiLimits
from edgemm_fleet.api.openapi import document
from edgemm_fleet.api.rights import Right
from edgemm_fleet.api.routes import Route
from edgemm_fleet.api.table import routes
from tests.unit.fleet.api.servers import RunningFleet, serving

ROLES = ("admin", "operator", "publisher", "viewer")
# Written out here, apart from the code's own table: who may call what.
RIGHTS = {
    "get_health": "nobody admin operator publisher viewer",
    "get_overview": "admin operator publisher viewer",
    "enrol": "nobody admin operator publisher viewer",
    "get_me": "admin operator publisher viewer",
    "get_status": "admin operator publisher viewer",
    "deprive_publisher": "admin",
    "renew_role": "admin publisher",
    "get_metrics": "admin operator publisher viewer",
    "get_openapi": "admin operator publisher viewer",
    "list_audit": "admin",
    "add_token": "admin operator",
    "list_tokens": "admin operator",
    "revoke_token": "admin operator",
    "add_person": "admin",
    "list_people": "admin",
    "revoke_person": "admin",
    "list_labels": "admin operator publisher viewer",
    "list_devices": "admin operator publisher viewer",
    "get_device": "admin operator publisher viewer",
    "get_desired": "admin operator publisher viewer",
    "list_events": "admin operator publisher viewer",
    "list_health": "admin operator publisher viewer",
    "list_telemetry": "admin operator publisher viewer",
    "add_action": "admin operator",
    "list_actions": "admin operator publisher viewer",
    "get_action": "admin operator publisher viewer",
    "label_device": "admin operator",
    "remove_device": "admin operator",
    "list_models": "admin operator publisher viewer",
    "get_model": "admin operator publisher viewer",
    "list_versions": "admin operator publisher viewer",
    "get_version": "admin operator publisher viewer",
    "authorise_publisher": "admin publisher",
    "tidy_models": "admin",
    "withdraw_versions": "admin",
    "publish_version": "admin publisher",
    "put_targets": "admin",
    "get_blob": "admin operator publisher viewer",
    "put_blob": "admin publisher",
    "list_missing_blobs": "admin publisher",
    "get_metadata": "admin operator publisher viewer",
    "get_target": "admin operator publisher viewer",
    "state_time": "admin operator publisher viewer",
    "set_shadow": "admin operator",
    "clear_shadow": "admin operator",
    "list_shadows": "admin operator publisher viewer",
    "create_rollout": "admin operator",
    "list_rollouts": "admin operator publisher viewer",
    "get_rollout": "admin operator publisher viewer",
    "list_members": "admin operator publisher viewer",
    "preview_rollout": "admin operator publisher viewer",
    "start_rollout": "admin operator",
    "pause_rollout": "admin operator",
    "resume_rollout": "admin operator",
    "start_next_group": "admin operator",
    "halt_rollout": "admin operator",
    "roll_back_rollout": "admin operator",
    "cancel_rollout": "admin operator",
}
REFUSALS = {401, 403}


def address(route: Route) -> str:
    return route.template.replace("{", "x").replace("}", "x")


def refused(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the edge refused for want of a right (an endpoint may answer 403 for another reason)."""
    if response.status not in REFUSALS:
        return False
    message: str = json.loads(response.data)["error"]["message"]
    return response.status == 401 or message.startswith("this needs the role of")


def test_every_route_is_in_the_table_of_rights() -> None:
    assert {route.name for route in routes()} == set(RIGHTS)


def test_each_role_may_do_what_the_table_says_and_nothing_else(fleet: RunningFleet) -> None:
    found = {}
    for route in routes():
        callers = []
        for role in (None, *ROLES):
            response = fleet.request(route.method, address(route), token=role, body=b"{}")
            if not refused(response):
                callers.append(role or "nobody")
        found[route.name] = " ".join(callers)
    assert found == RIGHTS


def test_every_error_has_a_code_a_message_and_a_hint_and_is_never_the_servers_fault(fleet: RunningFleet) -> None:
    bodies = [b"", b"{", b"[]", b"\xff\xfe", b'{"unknown": 1}', b"[" * 20_000, b'{"a": NaN}']
    for route in routes():
        for body in bodies:
            response = fleet.request(route.method, address(route), body=body)
            assert response.status < 500, (route.name, body, response.data)
            if response.status >= 400:
                error = json.loads(response.data)["error"]
                assert set(error) == {"code", "message", "hint"}, route.name
                assert all(error.values()), (route.name, error)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api/v1/devices/%2e%2e%2f",
        "/api/v1/blobs/..%2f..%2ffleet.json",
        "/tuf/metadata/..%2f..%2ffleet.db",
        "/tuf/targets/../../fleet.db",
        "/tuf/targets/models/digits/../../../fleet.json",
        "/tuf/metadata/2.root.json",
        "/api/v1/rollouts/r-0",
        "/api/v1/models/nothing",
        "/api/v1/models/nothing/versions/1.0.0",
        "/api/v1/devices/nobody/events",
    ],
)
def test_what_is_not_there_is_404_with_a_next_step(fleet: RunningFleet, path: str) -> None:
    response = fleet.request("GET", path)
    assert response.status == 404
    assert json.loads(response.data)["error"]["hint"]


@pytest.mark.parametrize("path", ["/api/v1/models//versions", "//evil.example/api/v1/models//versions"])
def test_a_doubled_slash_leads_nowhere(fleet: RunningFleet, path: str) -> None:
    response = fleet.request("GET", path, token=None, headers={"Host": "evil.example"})
    assert response.status == 404
    assert "Location" not in response.headers
    assert json.loads(response.data)["error"]["code"] == "not_found"


def test_a_wrong_method_is_405(fleet: RunningFleet) -> None:
    response = fleet.request("POST", "/api/v1/health")
    assert response.status == 405
    assert json.loads(response.data)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=5000", "offset=3", "after=" + "x" * 300])
def test_a_query_that_cannot_be_is_400(fleet: RunningFleet, query: str) -> None:
    response = fleet.request("GET", f"/api/v1/devices?{query}")
    assert response.status == 400
    assert json.loads(response.data)["error"]["message"].startswith("query of list_devices: ")


def test_an_error_repeats_little_of_what_was_sent(fleet: RunningFleet) -> None:
    kind = json.dumps({"kind": "a" * 70_000}).encode()
    answers = [
        fleet.request("POST", "/api/v1/devices/x/actions", body=kind),
        fleet.request("GET", f"/api/v1/models/{'m' * 8000}/versions/1.0.0"),
        fleet.request("GET", f"/api/v1/devices?{'n' * 8000}=1"),
        fleet.request("GET", f"/api/v1/blobs/{'b' * 8000}"),
    ]
    for response in answers:
        assert 400 <= response.status < 500
        assert len(response.data) < 2000, response.data


@pytest.mark.parametrize("after", [2**63 - 1, 2**63, 10**200])
@pytest.mark.parametrize("address", ["audit", "rollouts"])
def test_a_number_above_all_of_a_list_gives_its_first_page(fleet: RunningFleet, address: str, after: int) -> None:
    response = fleet.request("GET", f"/api/v1/{address}?after={after}")
    assert response.status == 200
    first = fleet.request("GET", f"/api/v1/{address}")
    assert json.loads(response.data) == json.loads(first.data)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (rb'{"uses": 1, "labels": {"a": "\ud800"}}', r"found \ud800 at byte 29, a lone surrogate, which is"),
        (b'{"labels": {"a": "\xed\xa0\x80"}}', "found bytes that are no UTF-8"),
        (b'{"selector": {"x": ' + b"[" * 9999 + b"]" * 9999 + b"}}", "found lists or objects nested too deep"),
    ],
)
def test_a_body_that_is_no_json_is_told_in_plain_words(fleet: RunningFleet, body: bytes, said: str) -> None:
    path = "models/tiny/shadow/clear" if b"selector" in body else "tokens"
    answer = fleet.request("POST", f"/api/v1/{path}", token="operator", body=body)
    assert answer.status == 400
    assert said in json.loads(answer.data)["error"]["message"]


def test_a_body_over_the_limit_is_413(tmp_path: Path) -> None:
    with serving(tmp_path / "fleet", limits=ApiLimits(max_json_bytes=1000)) as fleet:
        response = fleet.request("POST", "/api/v1/tokens", body=b'{"labels": {"a": "' + b"x" * 2000 + b'"}}')
    assert response.status == 413
    assert json.loads(response.data)["error"]["code"] == "request_entity_too_large"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic YTpi", "Bearer nonsense", "Bearer emp1_\u00e9"])
def test_a_token_that_is_none_is_401(fleet: RunningFleet, header: str) -> None:
    response = fleet.request("GET", "/api/v1/me", token=None, headers={"Authorization": header})
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "edgemm fleet login" in json.loads(response.data)["error"]["hint"]


def test_a_persons_token_expires_and_can_be_revoked(fleet: RunningFleet) -> None:
    made = fleet.request("POST", "/api/v1/people", body=json.dumps({"person": "ann", "role": "viewer", "ttl_s": 60}))
    assert made.status == 201
    token = json.loads(made.data)["token"]
    assert json.loads(fleet.request("GET", "/api/v1/me", token=token).data)["person"] == "ann"
    fleet.clock.ahead_s = 61
    expired = fleet.request("GET", "/api/v1/me", token=token)
    assert expired.status == 401
    assert b"this token expired at 20" in expired.data
    assert b"the clock of the server shows 20" in expired.data, "it may be that which is wrong"
    fleet.clock.ahead_s = 0
    identifier = json.loads(made.data)["record"]["id"]
    assert fleet.request("DELETE", f"/api/v1/people/{identifier}").status == 204
    assert fleet.request("GET", "/api/v1/me", token=token).status == 401


def test_the_last_administrator_cannot_be_revoked(fleet: RunningFleet) -> None:
    people = {one["role"]: one["id"] for one in json.loads(fleet.request("GET", "/api/v1/people").data)["items"]}
    refused_one = fleet.request("DELETE", f"/api/v1/people/{people['admin']}")
    assert refused_one.status == 409
    assert "edgemm fleet people add NAME --role admin" in json.loads(refused_one.data)["error"]["message"]
    assert fleet.request("DELETE", f"/api/v1/people/{people['viewer']}").status == 204
    made = json.loads(fleet.request("POST", "/api/v1/people", body=b'{"person": "bob", "role": "admin"}').data)
    assert fleet.request("DELETE", f"/api/v1/people/{people['admin']}", token=made["token"]).status == 204
    assert fleet.request("DELETE", f"/api/v1/people/{made['record']['id']}", token=made["token"]).status == 409
    fleet.clock.ahead_s = 400 * 86400
    assert fleet.request("GET", "/api/v1/me", token=made["token"]).status == 401


def test_tokens_are_in_the_database_only_as_hashes(fleet: RunningFleet) -> None:
    stored = b"".join(path.read_bytes() for path in fleet.folder.root.glob("fleet.db*"))
    assert all(token.encode() not in stored for token in fleet.tokens.values())


def test_writes_are_in_the_audit_log(fleet: RunningFleet) -> None:
    fleet.request("POST", "/api/v1/tokens", token="operator", body=b"{}")
    log = json.loads(fleet.request("GET", "/api/v1/audit").data)["items"]
    assert (log[0]["actor"], log[0]["action"]) == ("person:operator-person", "token.add")


def test_the_openapi_document_lists_every_route_and_resolves_every_reference(fleet: RunningFleet) -> None:
    served = json.loads(fleet.request("GET", "/api/v1/openapi.json").data)
    assert served["openapi"] == "3.1.0"
    operations = {(m.upper(), p) for p, item in served["paths"].items() for m in item}
    assert operations == {(route.method, route.template) for route in routes()}
    names = [o["operationId"] for item in served["paths"].values() for o in item.values()]
    assert len(set(names)) == len(names)
    for item in served["paths"].values():
        for operation in item.values():
            assert operation["summary"].endswith(".")
            assert operation["responses"]["default"]["content"]["application/json"]["schema"]
    text = json.dumps(served)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        found = served
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        assert found


def test_the_document_says_which_routes_need_no_token() -> None:
    served = document(routes(), fleet="plant")
    public = {o["operationId"] for item in served["paths"].values() for o in item.values() if o["security"] == []}
    assert public == {route.name for route in routes() if route.access is Right.PUBLIC} == {"get_health", "enrol"}


def test_metrics_count_devices_and_rollouts_in_the_format_of_prometheus(fleet: RunningFleet) -> None:
    response = fleet.request("GET", "/metrics", token="viewer")
    assert response.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.data.decode())
        for sample in family.samples
    }
    assert samples["edgemm_fleet_devices", "online"] == 0
    assert samples["edgemm_fleet_rollouts", "running"] == 0
    assert samples["edgemm_fleet_ingested_total", "event"] == 0
    assert samples["edgemm_fleet_build_info", __version__, "plant"] == 1
