"""A thief with a publisher's key and token uses up a model's numbers; the documented commands bring the model back."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.models import make_bundle
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.processes import Done, Place, refuses

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
HIGHEST = "999999999.999999999.999999999"


@pytest.fixture
def robbed(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet with two devices, whose publisher's key and token a thief used."""
    with Fleet(tmp_path) as fleet:
        fleet.up()
        pat, thief = (Place.make(tmp_path / name) for name in ("pat", "thief"))
        made = fleet.json("people", "add", "pat", "--role", "publisher")
        assert fleet.run("login", fleet.url, "--token-file", "-", at=pat, stdin=made["token"]).status == 0
        for version in ("1.0.0", "2.0.0"):
            assert _publish(fleet, pat, version).status == 0
        fleet.join("one", "two")
        fleet.rollout("2.0.0")
        shutil.copytree(pat.home / ".config", thief.home / ".config")
        assert _publish(fleet, thief, HIGHEST, "--minimum-version", HIGHEST).status == 0
        yield fleet


def _publish(fleet: Fleet, place: Place, version: str, *options: str) -> Done:
    bundle = place.folder / f"tiny-{version}.edgemm"
    make_bundle(bundle, version=version, seed=int(version[0]))
    return fleet.run("publish", bundle, *options, at=place)


def _withdraw(fleet: Fleet, *options: str) -> Done:
    return fleet.run("models", "withdraw", "tiny", HIGHEST, "--minimum-version", "2.0.0", *options)


def _expel_the_thief(fleet: Fleet) -> None:
    """What docs/keys.md has an administrator do first."""
    (pat,) = [one for one in json.loads(fleet.ok("people", "list", "--json")) if one["person"] == "pat"]
    fleet.ok("people", "revoke", pat["id"])
    fleet.ok("models", "authorize", "tiny")


def _end_the_stolen_key(fleet: Fleet) -> None:
    own = fleet.json("models", "authorize", "tiny")["key_id"]
    (stolen,) = set(fleet.api("/models/tiny")["key_ids"]) - {own}
    fleet.ok("models", "revoke", "tiny", "--key-id", stolen)


def _all_is_well(fleet: Fleet) -> None:
    """Another version reaches both devices and a new one."""
    assert _publish(fleet, fleet.place, "2.0.1").status == 0
    fleet.rollout("2.0.1")
    (three,) = fleet.join("three")
    fleet.rollout("2.0.1", "--device", three.id)
    assert [device.version() for device in fleet.devices] == ["2.0.1"] * 3


def test_what_a_thief_published_is_withdrawn_and_the_model_goes_on(robbed: Fleet) -> None:
    fleet, (one, two) = robbed, robbed.devices
    thief = Place(fleet.place.folder / "thief", fleet.place.folder / "thief" / "home")
    refuses(_publish(fleet, thief, "2.0.1"), 2, "signed minimum version", "edgemm fleet models withdraw tiny")
    refuses(fleet.run("rollout", "create", "tiny", "2.0.0"), 1, f"below {HIGHEST}")
    refuses(fleet.run("models", "withdraw", "tiny", "2.0.0", at=thief), 1, "role of admin")
    fleet.rollout(HIGHEST, "--device", one.id)  # nobody knew

    _expel_the_thief(fleet)
    refuses(fleet.run("models", "withdraw", "tiny", HIGHEST), 2, "give --minimum-version, at most 2.0.0")
    refuses(_withdraw(fleet), 1, "1 device", one.id, "--force")
    assert [v["version"] for v in fleet.api("/models/tiny")["versions"]] == [HIGHEST, "2.0.0", "1.0.0"]
    done = _withdraw(fleet, "--force")
    assert done.status == 0, done
    assert f"still runs on 1 device: {one.id}" in done.out
    _end_the_stolen_key(fleet)

    assert f"{HIGHEST} (withdrawn)" in fleet.ok("models").replace("\n", "")
    assert "WITHDRAWN" in fleet.ok("devices")
    assert "a version of tiny that was withdrawn" in fleet.ok("devices", "show", one.id)
    assert (one.version(), two.version()) == (HIGHEST, "2.0.0"), "what runs goes on"
    _restart(fleet, one)
    assert one.version() == HIGHEST, "also after a start"
    refuses(fleet.run("rollout", "create", "tiny", HIGHEST), 1, "was withdrawn")
    refuses(_publish(fleet, fleet.place, HIGHEST), 1, "its number is used up")
    _all_is_well(fleet)
    assert fleet.api("/devices")["items"][0]["withdrawn"] == []


def _restart(fleet: Fleet, device: Device) -> None:
    device.kill()
    device.start()
    device.wait_until_ready()
    eventually(device.online, "it is online again")


def test_a_withdrawal_that_is_cut_short_is_done_again(robbed: Fleet) -> None:
    fleet = robbed
    _expel_the_thief(fleet)
    for moment_s in (0.7, 0.9, 1.2):
        command = fleet.programs.start(
            f"withdraw-{moment_s}", "fleet", "models", "withdraw", "tiny", HIGHEST, "--minimum-version", "2.0.0"
        )
        time.sleep(moment_s)
        fleet.server.kill()
        command.kill()
        fleet.serve()
        assert _is_whole(fleet)
    assert _withdraw(fleet).status == 0
    _end_the_stolen_key(fleet)
    _all_is_well(fleet)


def _is_whole(fleet: Fleet) -> bool:
    """Tell whether database and repository agree: all of it is withdrawn, or nothing."""
    detail = fleet.api("/models/tiny")
    row = next(one for one in detail["versions"] if one["version"] == HIGHEST)
    return bool((row["withdrawn_at"] is None) == (detail["model"]["minimum_version"] == HIGHEST))
