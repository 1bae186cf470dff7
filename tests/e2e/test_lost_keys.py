"""Keys and names that were lost are replaced, and devices follow without a visit; all over real processes and TLS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm.trust.signing import load_key
from edgemm_fleet.trust.certificate import fingerprint
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.fleets import Device, Fleet
from tests.e2e.processes import refuses

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
LOOK_OFTEN = "[agent]\ntrust_refresh_s = 0.4\nbackoff_max_s = 1.0\n"
ALL = ("root", "targets", "snapshot", "timestamp", "director")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet over TLS."""
    with Fleet(tmp_path, scheme="https") as found:
        yield found.up()


def _join(fleet: Fleet) -> Device:
    config = fleet.place.folder / "device.toml"
    config.write_text(LOOK_OFTEN)
    device = Device(fleet, "one").start(token=fleet.token(), options=("--config", str(config)))
    eventually(device.online, "it is online")
    fleet.publish("1.0.0")
    fleet.rollout("1.0.0")
    return device


def _start_again(device: Device) -> None:
    device.start(options=("--config", str(device._fleet.place.folder / "device.toml")))


def _keys(fleet: Fleet, *arguments: str) -> str:
    return fleet.ok("keys", *arguments, "--folder", str(fleet.folder))


def test_every_key_is_replaced_while_a_device_is_away_and_the_stolen_ones_are_worth_nothing(served: Fleet) -> None:
    device = _join(served)
    identity = device.id
    stolen = load_key(served.folder / "keys" / "director.pem")
    device.kill()
    for _ in range(2):
        _keys(served, "rotate", *ALL)
    _keys(served, "rotate", "timestamp")
    served.publish("2.0.0")
    _start_again(device)
    rollout = served.json("rollout", "create", "tiny", "2.0.0", "--probation", "0s", "--group", "100%", "--start")
    device.wait_for_state("2.0.0", "committed")
    assert device.version() == "2.0.0"
    now = served.api(f"/devices/{identity}/desired")
    listed = json.loads(served.ok("keys", "list", "--folder", str(served.folder), "--json"))
    assert re.search(r"devices +1 online, 0 offline", served.ok("status"))
    assert stolen.public_key.keyid not in {key["id"] for role in listed for key in role["keys"]}
    assert rollout["rollout"]["id"]
    assert now["generation"] > 1


def test_a_new_certificate_and_a_new_address_reach_a_device_before_the_old_ones_go(served: Fleet) -> None:
    device = _join(served)
    folder, old = served.folder, fingerprint(served.folder / "tls" / "certificate.pem")
    addresses = device.state / "addresses.json"
    told = served.ok("cert", "renew", "--folder", str(folder))
    assert "addresses: server" in told
    eventually(addresses.exists, "the device heard of the new certificate")
    refuses(served.run("cert", "switch", "--folder", str(folder)), 1, "once an hour", "wait until")
    served.ok("cert", "switch", "--folder", str(folder), "--anyway")
    new = fingerprint(folder / "tls" / "certificate.pem")
    assert new != old
    eventually(lambda: _shown(served.port) == new, "the running manager shows the new certificate")
    _log_in(served, new)
    served.publish("2.0.0")
    served.rollout("2.0.0")
    assert device.version() == "2.0.0"
    served.ok("cert", "revoke", "--folder", str(folder))
    eventually(lambda: json.loads(addresses.read_bytes())["revoked"] == [old], "the device trusts the old one no more")

    port, broker = free_port(), free_port()
    moved = f"https://localhost:{port}"
    served.ok(
        "addresses", "announce", "--url", moved, "--broker", f"mqtts://localhost:{broker}", "--folder", str(folder)
    )
    eventually(lambda: json.loads(addresses.read_bytes())["servers"][0]["url"] == moved, "the device heard of it")
    served.server.terminate()
    served.port, served.url, served.broker = port, moved, f"embedded:{broker}"
    served.serve()
    _log_in(served, new)
    eventually(device.online, "the device came to the new address")
    served.publish("3.0.0")
    served.rollout("3.0.0")
    assert device.version() == "3.0.0"
    device.kill()
    _start_again(device)
    eventually(device.online, "a start knows the new address")


def _log_in(fleet: Fleet, pin: str) -> None:
    fleet.made["tls_fingerprint"] = pin
    fleet.ok("login", fleet.url, "--token", str(fleet.made["token"]), "--fingerprint", pin)


def _shown(port: int) -> str:
    import hashlib
    import ssl

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("localhost", port)))).hexdigest()
