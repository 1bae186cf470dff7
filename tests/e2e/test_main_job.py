"""The main job over the embedded broker and HTTPS: one story, told once, and what has to be true of it.

Three devices join by token; version 1 is rolled out, version 2 in groups under load, a scrambled version 3 turns itself
back, and `rollout rollback` brings version 1 again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import urllib3

from simulators.models import Dense
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet, X
from tests.e2e.load import Load
from tests.e2e.processes import Done

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]
GROUPS = ("--group", "1", "--group", "1", "--group", "100%")


@dataclass(frozen=True)
class Story:
    """The fleet after the story, and what was seen on the way."""

    fleet: Fleet
    devices: list[Device]
    first: Done
    after_first: list[tuple[int, Any]]
    second: Done
    load: Load
    third: Done
    states_of_third: dict[str, tuple[str, str | None] | None]
    after_third: list[str]
    back: Done
    after_back: list[str]

    def logs(self) -> str:
        """What its processes printed."""
        return self.fleet.logs()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Tell the story."""
    with Fleet(tmp_path_factory.mktemp("main-job"), scheme="https") as fleet:
        try:
            yield _tell(fleet.up())
        except BaseException:
            print(fleet.logs())
            raise


def _tell(fleet: Fleet) -> Story:
    telling = ("--telemetry-interval", "5s")  # a minute by default, for which a test would wait
    devices = fleet.join("kitchen", "garage", "roof", labels=("site=home",), options=telling)
    fleet.publish("1.0.0")
    first = fleet.run("rollout", "create", "tiny", "1.0.0", "--group", "100%", "--probation", "1s", "--wait")
    after_first = [device.predict() for device in devices]
    fleet.publish("2.0.0")
    with Load(devices) as load:
        second = fleet.run("rollout", "create", "tiny", "2.0.0", *GROUPS, "--probation", "1s", "--wait")
        rollout = fleet.last_rollout()["id"]
        fleet.publish("3.0.0", scramble=True)
        third = fleet.run("rollout", "create", "tiny", "3.0.0", *GROUPS, "--probation", "1s", "--wait")
        states = {device.name: device.state_of("3.0.0") for device in devices}
        after_third = [device.version() for device in devices]
        back = fleet.run("rollout", "rollback", rollout, "--wait")
    return Story(
        fleet, devices, first, after_first, second, load, third, states, after_third, back,
        [device.version() for device in devices],
    )  # fmt: skip


def test_the_first_version_answers_on_every_device(story: Story) -> None:
    assert story.first.status == 0, story.first
    expected = Dense.random(1).predict(np.array(X, np.float32))
    for status, answer in story.after_first:
        assert (status, answer["model"], answer["version"]) == (200, "tiny", "1.0.0")
        np.testing.assert_allclose(answer["outputs"]["scores"], expected, atol=1e-4)


def test_no_request_failed_while_versions_changed(story: Story) -> None:
    assert story.second.status == 0, story.second
    assert story.load.failures == []
    for answers in story.load.answers.values():
        assert set(answers) == {"1.0.0", "2.0.0"}
        assert min(answers.values()) > 10


def test_a_scrambled_version_halts_at_the_canary(story: Story) -> None:
    assert story.third.status == 1, story.third
    assert "halted" in story.third.out + story.third.err
    touched = {name: state for name, state in story.states_of_third.items() if state is not None}
    assert list(touched.values()) == [("failed", "selftest_failed")]
    assert story.after_third == ["2.0.0"] * 3


def test_only_the_canary_has_events_of_the_scrambled_version(story: Story) -> None:
    assert sum(bool(device.causes("3.0.0")) for device in story.devices) == 1


def test_a_rollback_brings_the_version_before(story: Story) -> None:
    assert story.back.status == 0, story.back
    assert story.after_back == ["1.0.0"] * 3


def test_triton_s_client_works_unmodified(story: Story) -> None:
    for device in story.devices:
        client = triton.InferenceServerClient(device.address.removeprefix("http://"))
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        x = np.array(X, np.float32)
        expected = Dense.random(int(device.version()[0])).predict(x)
        for binary in (True, False):
            tensor = triton.InferInput("x", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x, binary_data=binary)
            result = client.infer("tiny", [tensor], outputs=[triton.InferRequestedOutput("scores", binary_data=binary)])
            np.testing.assert_allclose(result.as_numpy("scores"), expected, atol=1e-4)
        client.close()


def test_each_transition_is_stored_once_and_shown(story: Story) -> None:
    way = ["accepted", "downloading", "verified", "staged", "activating", "probation", "committed"]
    for device in story.devices:
        shown = story.fleet.json("devices", "show", device.id)
        assert shown["device"]["labels"] == {"site": "home"}
        assert [m["active_version"] for m in shown["reported"]["models"]] == [device.version()]
        assert {stored["event"]["cause"] for stored in shown["events"]} >= {"accepted", "committed"}
        # The one that refused version 3 was told to keep what it runs.
        assert [cause for cause in device.causes("2.0.0") if cause != "already_active"] == way
        keys = [(event["boot"], event["sequence"]) for event in device.events()]
        assert len(keys) == len(set(keys))


def test_telemetry_counts_every_request_and_the_spool_is_empty_after_it_was_stored(story: Story) -> None:
    for device in story.devices:
        asked = sum(story.load.answers[device.name].values())
        eventually(partial(_counted, story.fleet, device, asked), "the window is stored", timeout_s=90)
    for device in story.devices:
        eventually(partial(_spool_is_empty, story.fleet, device), f"{device.name} waits for nothing", timeout_s=150)


def _counted(fleet: Fleet, device: Device, requests: int) -> bool:
    windows = fleet.api(f"/devices/{device.id}")["telemetry"]
    return bool(windows) and sum(m["requests"] for m in windows[0]["models"]) >= requests


def _spool_is_empty(fleet: Fleet, device: Device) -> bool:
    """Tell whether the last window found nothing that waited before it."""
    windows = fleet.api(f"/devices/{device.id}")["telemetry"]
    return bool(windows[0]["spool_waiting"] == 0)


def test_prometheus_sees_the_requests_of_each_version(story: Story) -> None:
    for device in story.devices:
        text = device.http.request("GET", f"{device.address}/metrics").data.decode()
        for version in ("1.0.0", "2.0.0"):
            assert any("tiny" in line and version in line for line in text.splitlines()), text


LISTS = [
    "devices", "devices list", "models", "models list", "rollout list", "token list", "people list", "audit",
]  # fmt: skip


@pytest.mark.parametrize("command", LISTS)
def test_json_of_a_list_is_one_document_and_nothing_else(story: Story, command: str) -> None:
    done = story.fleet.run(*command.split(), "--json")
    assert done.err == ""
    assert done.json()
    plain = story.fleet.run(*command.split())
    assert plain.status == 0, plain
    assert "Traceback" not in plain.out + plain.err


def test_json_of_one_rollout_and_one_device(story: Story) -> None:
    rollout = story.fleet.last_rollout()["id"]
    assert story.fleet.json("rollout", "status", rollout)["rollout"]["id"] == rollout
    device = story.devices[0].id
    assert story.fleet.json("devices", "show", device)["device"]["id"] == device


def test_nobody_reads_or_writes_without_a_token(story: Story) -> None:
    with urllib3.PoolManager(
        retries=False, cert_reqs="CERT_NONE", assert_fingerprint=story.fleet.made["tls_fingerprint"]
    ) as pool:
        described = json.loads(pool.request("GET", f"{story.fleet.url}/api/v1/health").data)
        assert "error" not in described
        for path, operations in story.fleet.api("/openapi.json")["paths"].items():
            for method in operations:
                if path in {"/api/v1/enrol", "/api/v1/health"}:
                    continue
                answer = pool.request(method.upper(), story.fleet.url + re.sub(r"\{\w+\}", "x", path), body=b"{}")
                assert answer.status == 401, (method, path, answer.status)
                assert set(answer.json()["error"]) == {"code", "message", "hint"}
