"""The switch of the server's certificate: whom it may cut off, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgemm import canonical
from edgemm.cli import run
from edgemm.trust.addresses import BrokerAddress
from edgemm_fleet.commands import fleet_certificate
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder

Said = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> FleetFolder:
    """A fleet whose next certificate was announced a moment ago."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = FleetFolder(tmp_path / "fl")
    assert run(["fleet", "init", str(made.root), "--public-url", "https://old.example:8443"]) == 0
    note = BrokerAddress(host="old.example", port=8883, ca=made.certificate.read_text())
    made.broker_note.write_bytes(canonical.encode(note))
    assert run(["fleet", "cert", "renew", "--folder", str(made.root)]) == 0
    capsys.readouterr()
    return made


def switch(folder: FleetFolder, *arguments: str) -> int:
    return run(["fleet", "cert", "switch", "--folder", str(folder.root), *arguments])


def test_going_back_and_forward_again_needs_no_waiting(folder: FleetFolder) -> None:
    old = fingerprint(folder.certificate)
    assert switch(folder, "--anyway") == 0
    new = fingerprint(folder.certificate)
    assert switch(folder, "--back") == 0
    assert fingerprint(folder.certificate) == old != new
    assert switch(folder, "--back") == 0
    assert fingerprint(folder.certificate) == new


@pytest.mark.parametrize("look_s", [7200.0, -1.0])
def test_devices_that_may_be_cut_off_are_named(
    folder: FleetFolder, look_s: float, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_certificate, "LOOK_S", look_s)
    names = [f"pi-{number:02}" for number in range(12)]
    monkeypatch.setattr(fleet_certificate, "_unaware", lambda *_: names)
    assert switch(folder) == 1
    refused = capsys.readouterr().err
    assert switch(folder, "--anyway") == 0
    for said in (refused, capsys.readouterr().err):
        assert "12 (pi-00, " in said
        assert "pi-09, …)" in said
        assert "cert switch --back" in said
    assert f"--fingerprint {fingerprint(folder.certificate)}" in said
    assert ("wait until then" in refused) == (look_s > 0)
