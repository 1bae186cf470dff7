import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm.bundle import open_bundle
from edgemm.canonical import sha256
from edgemm.messages import Reported, ReportedModel
from edgemm.states import UpdateState
from edgemm_fleet.api.preview import download_bytes, preview
from edgemm_fleet.records.rollout_plan import Group, RolloutPlan, Selector
from edgemm_fleet.rollout.hand_outs import HandOuts
from edgemm_fleet.store import reported
from edgemm_fleet.trust.catalogue import record_version
from edgemm_fleet.trust.publication import Publication, extend
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from tests.golden.unknown import path_of
from tests.unit.core.bundles import CONTENT, small_manifest
from tests.unit.fleet.api.servers import RunningFleet
from tests.unit.fleet.api.test_enrolment import enrol, make_token
from tests.unit.fleet.trust.repositories import NOW, publication

MANIFEST = small_manifest()
GOLDEN_BYTES = len(CONTENT["x"]) + len(CONTENT["y"])


@pytest.fixture
def published(fleet: RunningFleet, tmp_path: Path) -> RunningFleet:
    """A fleet with digits 1.0.0 and three devices, two of them at site north."""
    signer = CryptoSigner.generate_ed25519()
    fleet.state.repository.authorise("digits", signer.public_key, now=NOW)
    new: Publication = publication(fleet.state.repository, tmp_path, signer)
    fleet.state.repository.publish(new, now=NOW)
    with fleet.state.store.write() as tx:
        record_version(tx, fleet.state.repository, new, actor="person:pat", now=time.time())
    fleet.devices = []
    for site in ("north", "north", "south"):
        token = make_token(fleet, labels={"site": site})
        fleet.devices.append(enrol(fleet, token, CryptoSigner.generate_ed25519())[1]["device"])
    return fleet


def post(fleet: RunningFleet, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    response = fleet.request("POST", f"/api/v1/rollouts{path}", token="operator", body=json.dumps(body or {}))
    return response.status, json.loads(response.data)


def draft(fleet: RunningFleet, **changes: object) -> dict[str, Any]:
    status, rollout = post(fleet, "", {"model": "digits", "version": "1.0.0", **changes})
    assert status == 201, rollout
    return rollout


def get(fleet: RunningFleet, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(fleet.request("GET", f"/api/v1/rollouts{path}", token="viewer").data)
    return answer


def test_a_variant_of_a_later_version_can_be_rolled_out_by_its_name(published: RunningFleet) -> None:
    signer = CryptoSigner.generate_ed25519()
    repository = published.state.repository
    repository.authorise("tiny", signer.public_key, now=NOW)
    with open_bundle(path_of("engine")) as bundle:
        manifest, data = bundle.manifest, bundle.manifest_bytes
    signed = extend(None, data, minimum=None, signer=signer, now=NOW, lifetimes=DEFAULT_LIFETIMES)
    new = Publication(manifest, data, signed)
    repository.publish(new, now=NOW)
    with published.state.store.write() as tx:
        record_version(tx, repository, new, actor="person:pat", now=time.time())
    rollout = draft(published, model="tiny", variants=["acme-npu:int8", "tflite:float32"])
    told = get(published, f"/{rollout['id']}/preview")
    assert (told["matching"], told["without_engine"]) == (3, [])
    npu, lite = ((variant.id, frozenset({variant.engine})) for variant in manifest.variants)
    groups = (Group(percent=100),)
    plan = RolloutPlan(model="tiny", version="1.0.0", digest=sha256(data), groups=groups, variants=(npu[0], lite[0]))
    sizes = [download_bytes(plan, manifest, engines) for _, engines in (npu, lite)]
    assert sizes[0] != sizes[1]
    assert download_bytes(plan, manifest, frozenset({"onnx"})) == 0


def test_a_draft_tells_whom_it_would_touch_and_touches_nobody(published: RunningFleet) -> None:
    rollout = draft(published, selector={"labels": {"site": ["north"]}})
    assert rollout["state"] == "draft"
    told = get(published, f"/{rollout['id']}/preview")
    assert told["matching"] == 2
    assert sorted(d for group in told["groups"] for d in group["devices"]) == sorted(published.devices[:2])
    assert [len(group["devices"]) for group in told["groups"]] == [1, 1, 0]
    assert get(published, f"/{rollout['id']}/members")["items"] == []


def test_the_first_group_is_the_one_that_the_preview_told(published: RunningFleet) -> None:
    rollout = draft(published, groups=[{"count": 1}, {"percent": 100}])
    told = get(published, f"/{rollout['id']}/preview")["groups"][0]["devices"]
    status, started = post(published, f"/{rollout['id']}/start")
    assert (status, started["state"]) == (200, "running")
    assert [member["device"] for member in get(published, f"/{rollout['id']}/members")["items"]] == told
    assert get(published, f"/{rollout['id']}")["groups"] == [{"prepared": 1}, {}]
    assert HandOuts(published.state.store, published.state.rollouts._runner).hand_out(now=time.time()) == told
    wanted = json.loads(published.request("GET", f"/api/v1/devices/{told[0]}/desired").data)
    assert [(m["name"], m["version"], m["rollout"]) for m in wanted["models"]] == [("digits", "1.0.0", rollout["id"])]
    detail = get(published, f"/{rollout['id']}")
    assert detail["groups"] == [{"pending": 1}, {}]


@pytest.mark.parametrize("years", [-50, 20])
def test_a_server_whose_clock_leapt_starts_nothing_and_says_so(published: RunningFleet, years: int) -> None:
    rollout = draft(published)["id"]
    published.clock.ahead_s = years * 365.25 * 86400
    status, answer = post(published, f"/{rollout}/start")
    assert (status, answer["error"]["code"]) == (503, "environment")
    assert "the clock of this machine shows" in answer["error"]["message"]
    published.clock.ahead_s = 0
    assert get(published, f"/{rollout}")["rollout"]["state"] == "draft"
    assert post(published, f"/{rollout}/start")[0] == 200


def test_a_running_rollout_is_halted_once_and_then_rolled_back(published: RunningFleet) -> None:
    rollout = draft(published)["id"]
    post(published, f"/{rollout}/start")
    first = post(published, f"/{rollout}/halt", {"reason": "smoke"})
    assert (first[0], first[1]["state"], first[1]["reason"]) == (200, "halted", "smoke")
    assert post(published, f"/{rollout}/halt", {"reason": "again"}) == first
    status, back = post(published, f"/{rollout}/rollback")
    assert status == 200
    assert back["state"] in {"rolling_back", "rolled_back"}


def test_a_draft_can_be_canceled_and_not_started_then(published: RunningFleet) -> None:
    rollout = draft(published)["id"]
    assert post(published, f"/{rollout}/cancel")[1]["state"] == "canceled"
    status, answer = post(published, f"/{rollout}/start")
    assert status == 409
    assert f"rollout {rollout} is canceled, it cannot become ready" in answer["error"]["message"]


@pytest.mark.parametrize("act", ["halt", "rollback"])
def test_a_draft_cannot_be_halted_or_rolled_back(published: RunningFleet, act: str) -> None:
    assert post(published, f"/{draft(published)['id']}/{act}")[0] == 409


def test_two_rollouts_of_one_model_do_not_run_at_once_unless_one_supersedes(published: RunningFleet) -> None:
    first = draft(published)["id"]
    post(published, f"/{first}/start")
    assert post(published, f"/{draft(published)['id']}/start")[0] == 409
    assert post(published, f"/{draft(published, supersedes=first)['id']}/start")[0] == 200
    assert get(published, f"/{first}")["rollout"]["state"] == "canceled"


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"version": "9.9.9"}, 404, "digits 9.9.9 is not published"),
        ({"model": "nothing"}, 404, "nothing 1.0.0 is not published"),
        ({"version": "latest"}, 400, "body of create_rollout"),
        ({"groups": []}, 400, "body of create_rollout"),
        ({"groups": [{}]}, 400, "give either count or percent"),
        ({"groups": [{"count": 1, "percent": 5}]}, 400, "give either count or percent"),
        ({"groups": [{"percent": 101}]}, 400, "body of create_rollout"),
        ({"groups": [{"count": 1, "error_threshold": -1}]}, 400, "body of create_rollout"),
        ({"variants": ["tflite:int4"]}, 400, "variant 'tflite:int4': digits 1.0.0 has tflite:int8, tflite:float32"),
        ({"activation_deadline_s": 5}, 400, "it must be longer than the longest probation"),
        ({"digest": "0" * 64}, 400, "unknown field `digest`"),
        ({"config": {"threads": 0}}, 400, "body of create_rollout"),
        ({"selector": {"lables": {"site": ["lab"]}}}, 400, "unknown field at `$.selector.lables`"),
        ({"groups": [{"count": 1}, {"percent": 100, "gate": 1}]}, 400, "unknown field at `$.groups[1].gate`"),
        ({"config": {"probation": {"min_duration": 5}}}, 400, "unknown field at `$.config.probation.min_duration`"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(
    published: RunningFleet, change: dict[str, object], status: int, said: str
) -> None:
    found, answer = post(published, "", {"model": "digits", "version": "1.0.0", **change})
    assert found == status
    assert said in answer["error"]["message"]


def test_a_shadow_for_devices_that_a_misspelled_condition_means_runs_nowhere(published: RunningFleet) -> None:
    body = json.dumps({"version": "1.0.0", "selector": {"device": ["pi-1"]}})
    answer = published.request("PUT", "/api/v1/models/digits/shadow", body=body)
    assert (answer.status, "unknown field at `$.selector.device`" in answer.data.decode()) == (400, True)


def test_labels_of_any_name_are_no_fields(published: RunningFleet) -> None:
    wanted = {"labels": {"site": ["lab"], "lables": ["x", "y"]}}
    assert draft(published, selector=wanted, allow_empty=True)["plan"]["selector"]["labels"] == wanted["labels"]


def test_a_draft_keeps_the_canonical_text_of_its_filter_and_previews_whom_it_means(published: RunningFleet) -> None:
    drafted = draft(published, selector={"where": '("site"=north)  and not version>=1'})
    assert drafted["plan"]["selector"]["where"] == "site=north not version>=1"
    assert drafted["plan"]["requires"] == ["filter"]
    assert get(published, f"/{drafted['id']}/preview")["matching"] == 2
    status, answer = post(published, "", {"model": "digits", "version": "1.0.0", "selector": {"where": "sit"}})
    assert (status, answer["error"]["message"].partition(":")[0]) == (400, "filter, column 1")


def test_a_device_names_the_running_rollouts_that_mean_it(published: RunningFleet) -> None:
    drafted = draft(published, selector={"where": "site=north not version>=1"})["id"]

    def meant_by() -> list[list[str]]:
        answers = [published.request("GET", f"/api/v1/devices/{one}", token="viewer") for one in published.devices]
        return [json.loads(answer.data)["meant_by"] for answer in answers]

    assert meant_by() == [[], [], []]
    assert post(published, f"/{drafted}/start")[0] == 200
    assert meant_by() == [[drafted], [drafted], []]


def plan(**changes: Any) -> RolloutPlan:
    return RolloutPlan(model="digits", version="1.0.0", digest=sha256(b""), groups=(Group(percent=100),), **changes)


def test_a_device_fetches_the_manifest_its_variant_and_the_golden_samples() -> None:
    base = len(MANIFEST.encode()) + GOLDEN_BYTES
    assert download_bytes(plan(), MANIFEST, frozenset({"tflite"})) == base + len(CONTENT["int8"])
    assert download_bytes(plan(), MANIFEST, None) == base + len(CONTENT["int8"])
    chosen = plan(variants=("tflite:float32",))
    assert download_bytes(chosen, MANIFEST, frozenset({"tflite"})) == base + len(CONTENT["float32"])
    assert download_bytes(plan(), MANIFEST, frozenset({"onnx"})) == 0


def test_the_preview_names_devices_without_an_engine() -> None:
    first = [f"d-{n}" for n in range(3)]
    engines = {"d-0": frozenset({"onnx"}), "d-1": frozenset({"tflite"})}
    told = preview(plan(selector=Selector()), MANIFEST, matching=3, first=first, engines=engines)
    assert told.without_engine == ("d-0",)
    one = download_bytes(plan(), MANIFEST, None)
    assert told.download_bytes == 2 * one


def test_a_preview_of_very_many_devices_names_the_first_and_estimates_the_rest() -> None:
    first = [f"d-{n:04}" for n in range(5000)]
    engines = dict.fromkeys(first[::2], frozenset({"onnx"}))
    groups = (Group(count=10), Group(percent=50), Group(percent=100))
    asked = replace(plan(selector=Selector()), groups=groups)
    told = preview(asked, MANIFEST, matching=1_000_000, first=first, engines=engines)
    one = download_bytes(asked, MANIFEST, None)
    assert [group.size for group in told.groups] == [10, 499_990, 500_000]
    assert [len(group.devices) for group in told.groups] == [10, 1000, 0]
    assert [group.download_bytes for group in told.groups] == [5 * one, 249_995 * one, 250_000 * one]
    assert (len(told.without_engine), told.looked_at) == (1000, 5000)


def test_a_preview_reads_no_more_devices_than_it_looks_at(
    published: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemm_fleet.api.rollouts._PREVIEWED", 2)
    told = get(published, f"/{draft(published, groups=[{'count': 1}, {'percent': 100}])['id']}/preview")
    assert (told["matching"], told["looked_at"]) == (3, 2)
    assert [(group["size"], len(group["devices"])) for group in told["groups"]] == [(1, 1), (2, 1)]


def report_of(fleet: RunningFleet, *devices: str, **changes: Any) -> None:
    """Store what devices report."""
    fixed = {"fleet": "plant", "boot": "0" * 16, "boot_count": 1, "sequence": 1, "time": "2026-11-20T19:00:00Z"}
    values: dict[str, Any] = {**fixed, "clock_synced": True, "generation": 0, "runtime": "0.1.0", **changes}
    with fleet.state.store.write() as tx:
        for device in devices:
            reported.put(tx, Reported(device=device, **values), now=time.time())


REFUSING: dict[str, tuple[dict[str, object], str]] = {
    "no engine": (
        {"engines": {"torch": "2.0"}},
        "needs an engine for tflite:int8, tflite:float32, found torch on all 2 devices that match",
    ),
    "none at all": ({"engines": {}}, "found none on all 2 devices that match: install one there"),
    "an old edgemm": (
        {"engines": {"tflite": "2"}, "runtime": "0.0.9"},
        "needs edgemm 0.1.0, found 0.0.9 or older on all 2 devices",
    ),
}


@pytest.mark.parametrize("case", REFUSING)
def test_a_rollout_that_every_device_would_refuse_is_refused_at_the_draft(published: RunningFleet, case: str) -> None:
    changes, said = REFUSING[case]
    north = {"selector": {"labels": {"site": ["north"]}}}
    report_of(published, published.devices[0], **changes)
    draft(published, **north)  # of the other one nothing is known
    report_of(published, published.devices[1], **changes)
    status, answer = post(published, "", {"model": "digits", "version": "1.0.0", **north})
    assert status == 400
    assert said in answer["error"]["message"]
    report_of(published, published.devices[2], engines={"tflite": "2.3"})
    draft(published)  # one of the three can run it


def test_devices_are_listed_with_what_they_report(published: RunningFleet) -> None:
    device = published.devices[0]
    running = ReportedModel(name="digits", state=UpdateState.COMMITTED, digest="0" * 64, version="1.0.0", attempt=1)
    report_of(published, device, models=(running,))
    items = json.loads(published.request("GET", "/api/v1/devices").data)["items"]
    models = {item["device"]["id"]: [m["version"] for m in item["models"]] for item in items}
    assert models == {name: ["1.0.0"] if name == device else [] for name in published.devices}
    shown = json.loads(published.request("GET", f"/api/v1/devices/{device}").data)
    assert shown["reported"]["models"][0]["state"] == "committed"
    assert shown["desired"] is None


def test_lists_come_in_pages(published: RunningFleet) -> None:
    seen, after = [], ""
    while True:
        page = json.loads(published.request("GET", f"/api/v1/devices?limit=2{after}").data)
        seen += [item["device"]["id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == sorted(published.devices)


def test_a_report_that_had_no_room_for_its_engines_refuses_no_rollout(published: RunningFleet) -> None:
    runs: dict[str, Any] = {
        "name": "digits",
        "state": UpdateState.COMMITTED,
        "digest": "a" * 64,
        "version": "0.9.0",
        "attempt": 1,
    }
    models = (ReportedModel(**runs, active_digest="a" * 64, active_version="0.9.0"),)
    report_of(published, *published.devices, engines={}, models=models)
    assert draft(published)["state"] == "draft"
