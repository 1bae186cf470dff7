"""The announcement of addresses on the server: what cannot be an address is never signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.cli import run
from edgemm.trust.addresses import BrokerAddress
from edgemm_fleet.trust import announcement
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.next_certificate import next_certificate
from edgemm_fleet.trust.version_repository import VersionRepository

Said = pytest.CaptureFixture[str]
IMPOSSIBLE = ["x y", "u:hunter2@h", "a..b", "256.1.1.1", "0.0.0.0", "k\u00fcche", "h\t"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> FleetFolder:
    """A fleet's folder as a manager leaves it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["fleet", "init", str(tmp_path / "fl"), "--public-url", "https://old.example:8443"]) == 0
    made = FleetFolder(tmp_path / "fl")
    note = BrokerAddress(host="old.example", port=8883, ca=made.certificate.read_text())
    made.broker_note.write_bytes(canonical.encode(note))
    capsys.readouterr()
    return made


def announce(folder: FleetFolder, *arguments: str) -> int:
    return run(["fleet", "addresses", "announce", "--folder", str(folder.root), *arguments])


@pytest.mark.parametrize("host", IMPOSSIBLE)
@pytest.mark.parametrize(("option", "scheme"), [("--url", "https"), ("--broker", "mqtts")])
def test_what_cannot_be_an_address_is_not_signed(
    folder: FleetFolder, option: str, scheme: str, host: str, capsys: Said
) -> None:
    assert announce(folder, option, f"{scheme}://{host}:1") == 2
    said = capsys.readouterr().err
    assert (option in said, "expected" in said, said.count("\n")) == (True, True, 1)
    assert "hunter2" not in said
    assert announcement.announced(VersionRepository(folder)) is None
    assert folder.read_config().public_url == "https://old.example:8443"


@pytest.mark.parametrize("host", IMPOSSIBLE)
@pytest.mark.parametrize(
    "command",
    [
        ["init", "new", "--public-url", "https://{}:1"],
        ["serve", "fl", "--public-url", "https://{}:1"],
        ["login", "https://{}:1", "--token", "emp1_" + "0" * 8],
    ],
    ids=lambda command: command[0],
)
def test_nor_does_a_person_get_on_with_it(
    folder: FleetFolder, command: list[str], host: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.root.parent)
    assert run(["fleet", *(word.format(host) for word in command)]) == 2
    said = capsys.readouterr().err
    assert ("https://HOST[:PORT]" in said, said.count("\n")) == (True, 1)
    assert "hunter2" not in said
    assert not Path("new").exists()


@pytest.mark.parametrize("host", [one for one in IMPOSSIBLE if "@" not in one])
def test_nor_does_a_manager_with_such_a_broker(folder: FleetFolder, host: str, capsys: Said) -> None:
    login = ("--device-login", "dev:pw")
    assert run(["fleet", "serve", str(folder.root), "--broker", f"mqtts://me:hunter2@{host}:1", *login]) == 2
    said = capsys.readouterr().err
    assert ("--broker" in said, said.count("\n"), "hunter2" in said) == (True, 1, False)
    assert run(["fleet", "serve", str(folder.root), "--listen", f"{host}!:1"]) == 2
    assert "--listen" in capsys.readouterr().err


def test_another_name_of_the_server_has_the_certificate_that_is_to_come_too(folder: FleetFolder, capsys: Said) -> None:
    assert run(["fleet", "cert", "renew", "--folder", str(folder.root)]) == 0
    pins = (fingerprint(next_certificate(folder)), fingerprint(folder.certificate))
    assert announce(folder, "--url", "https://new.example:8443", "--url", "https://old.example:8443") == 0
    told = announcement.announced(VersionRepository(folder))
    assert told is not None
    assert [one.pins for one in told.servers] == [pins, pins]


def test_what_was_announced_by_a_mistake_of_before_is_dropped_and_stops_nothing(
    folder: FleetFolder, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as an earlier edgemm took it
        for name in ("edgemm_fleet.commands.fleet_addresses.check_public_url",):
            patch.setattr(name, lambda url, what="": url)
        assert announce(folder, "--url", "https://k\u00fcche y:1") == 0
    assert run(["fleet", "cert", "renew", "--folder", str(folder.root)]) == 0
    assert announce(folder, "--drop", "https://k\u00fcche y:1") == 0
    capsys.readouterr()
    assert run(["fleet", "addresses", "show", "--folder", str(folder.root), "--json"]) == 0
    assert [one["url"] for one in json.loads(capsys.readouterr().out)["servers"]] == ["https://old.example:8443"]
