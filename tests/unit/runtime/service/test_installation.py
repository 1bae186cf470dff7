"""The service is installed whole or not at all, by a stand-in for systemctl that can be told to refuse."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm.errors import EnvironmentFailure
from edgemm_runtime.commands import service, service_arguments
from edgemm_runtime.service.installation import Places, Systemd, install, places, uninstall
from edgemm_runtime.service.unit import STATE, Scope
from simulators.models import make_bundle

FLEET = ["--fleet", "https://fleet.example:8443"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `systemctl` first on PATH that notes its arguments and refuses the verb in the file `refuse`."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with (folder / 'calls').open('a') as calls:\n    calls.write(' '.join(sys.argv[1:]) + '\\n')\n"
        "refused = folder / 'refuse'\n"
        "if refused.exists() and refused.read_text() in sys.argv:\n    sys.exit('Unit is bad.')\n"
        "shown = folder / 'shown'\n"
        "print(shown.read_text() if 'show' in sys.argv and shown.exists() else '', end='')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "booted").mkdir()
    monkeypatch.setattr(service, "Systemd", partial(Systemd, booted=tmp_path / "booted"))
    return tmp_path


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_a_user_installs_and_uninstalls_it(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = places(Scope.USER)
    assert run(["service", "install", "--user", *FLEET, "--token", "emt1_secret", "--label", "room=hall"]) == 0
    assert "journalctl --user --unit edgemm.service --follow" in capsys.readouterr().out
    assert calls(systemctl) == [
        "--user daemon-reload", "--user enable edgemm.service", "--user restart --no-block edgemm.service",
    ]  # fmt: skip
    unit = where.unit.read_text()
    assert f"run --fleet https://fleet.example:8443 --label room=hall --state-dir {STATE}\n" in unit
    assert "secret" not in unit
    assert where.secrets.read_text() == "EDGEMM_TOKEN=emt1_secret\n"
    assert where.secrets.stat().st_mode & 0o777 == 0o600
    assert run(["service", "uninstall", "--user"]) == 0
    assert not where.unit.exists()
    assert not where.secrets.exists()
    assert "--user disable --now edgemm.service" in calls(systemctl)
    assert run(["service", "uninstall", "--user"]) == 0
    assert "nothing was installed" in capsys.readouterr().out


def test_an_update_of_the_unit_keeps_the_token(systemctl: Path) -> None:
    assert run(["service", "install", "--user", *FLEET, "--token", "emt1_secret"]) == 0
    assert run(["service", "install", "--user", *FLEET, "--port", "9000"]) == 0
    assert "--port 9000" in places(Scope.USER).unit.read_text()
    assert places(Scope.USER).secrets.read_text() == "EDGEMM_TOKEN=emt1_secret\n"


@pytest.mark.parametrize("verb", ["daemon-reload", "enable", "restart"])
@pytest.mark.parametrize("before", [None, "# an earlier unit\n"])
def test_a_unit_that_systemd_refuses_leaves_all_as_it_was(systemctl: Path, verb: str, before: str | None) -> None:
    where = Places(systemctl / "units" / "edgemm.service", systemctl / "edgemm.env")
    if before is not None:
        where.unit.parent.mkdir()
        where.unit.write_text(before)
    (systemctl / "refuse").write_text(verb)
    systemd = Systemd(Scope.SYSTEM, booted=systemctl / "booted")
    with pytest.raises(EnvironmentFailure, match=r"systemctl .*: Unit is bad\."):
        install(systemd, where, unit="new", token="x")
    assert (where.unit.read_text() if where.unit.exists() else None) == before
    assert not where.secrets.exists()


def test_a_folder_that_is_none_is_named(systemctl: Path) -> None:
    (systemctl / "file").write_text("")
    where = Places(systemctl / "file" / "edgemm.service", systemctl / "edgemm.env")
    systemd = Systemd(Scope.SYSTEM, booted=systemctl / "booted")
    with pytest.raises(EnvironmentFailure, match=str(systemctl / "file")):
        install(systemd, where, unit="new", token=None)
    with pytest.raises(EnvironmentFailure):
        uninstall(systemd, Places(systemctl, systemctl / "edgemm.env"))


@pytest.mark.parametrize("verb", ["install", "uninstall", "status"])
def test_without_systemd_it_says_so_and_changes_nothing(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "Systemd", partial(Systemd, booted=tmp_path / "not-booted"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    arguments = [*FLEET, "--token", "emt1_secret"] if verb == "install" else []
    assert run(["service", verb, "--user", *arguments]) == 1
    assert "systemd does not run this machine" in capsys.readouterr().err
    assert not (tmp_path / "config").exists()


def test_status_tells_what_the_process_says_of_itself(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "install", "--user", *FLEET]) == 0
    capsys.readouterr()
    (systemctl / "shown").write_text(
        "ActiveState=active\nSubState=running\nResult=success\nNRestarts=2\nMainPID=77\n"
        "StatusText=serving a=b 1.0.0\nUnitFileState=enabled\nActiveEnterTimestamp=Mon\n"
    )
    assert run(["service", "status", "--user"]) == 0
    out = capsys.readouterr().out
    assert "active (running, success) since Mon, enabled\nserving a=b 1.0.0\npid 77, restarted 2 times" in out
    (systemctl / "shown").write_text("ActiveState=failed\nResult=watchdog\n")
    assert run(["service", "status", "--user", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["active"], found["detail"], found["installed"]) == ("failed", "watchdog", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --fleet URL, or the BUNDLE files"),
        ([*FLEET, "a.edgemm"], "expected --fleet URL, or the BUNDLE files"),
        ([*FLEET, "--nonsense"], "No such option '--nonsense'"),
        ([*FLEET, "--port", "http"], "'http' is not a valid integer"),
        (["missing.edgemm"], "no bundle"),
        ([*FLEET, "--config", "missing.toml"], "missing.toml: cannot be read"),
        ([*FLEET, "--api-key-file", "missing"], "missing: No such file or directory: give another file"),
        ([*FLEET, "--tls-cert", "missing"], "--tls-cert and --tls-key go together"),
        (
            [*FLEET, "--tls-cert", "missing", "--tls-key", "missing"],
            "missing: No such file or directory: expected a certificate",
        ),
        ([*FLEET, "--shadow", "missing.edgemm"], "missing.edgemm: give the path of a file"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_written(
    arguments: list[str], message: str, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["service", "install", "--user", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (systemctl / "calls").exists()
    assert not places(Scope.USER).unit.exists()


def test_a_unit_that_is_refused_at_its_first_install_is_not_enabled_either(systemctl: Path) -> None:
    where = Places(systemctl / "units" / "edgemm.service", systemctl / "edgemm.env")
    (systemctl / "refuse").write_text("restart")
    with pytest.raises(EnvironmentFailure):
        install(Systemd(Scope.SYSTEM, booted=systemctl / "booted"), where, unit="new", token=None)
    assert calls(systemctl)[-2:] == ["disable edgemm.service", "daemon-reload"]


def test_a_masked_unit_stays_masked(systemctl: Path) -> None:
    where = Places(systemctl / "edgemm.service", systemctl / "edgemm.env")
    where.unit.symlink_to("/dev/null")
    with pytest.raises(EnvironmentFailure, match="systemctl unmask"):
        install(Systemd(Scope.SYSTEM, booted=systemctl / "booted"), where, unit="new", token=None)
    assert where.unit.is_symlink()


def test_an_api_key_beside_the_token_is_never_overwritten(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = places(Scope.USER).secrets
    secrets.parent.mkdir(parents=True)
    secrets.write_text("# mine\nEDGEMM_API_KEY=0123456789abcdef\n  EDGEMM_TOKEN=emt1_old\nOTHER=1")
    assert run(["service", "install", "--user", *FLEET, "--token", "emt1_new"]) == 0
    kept = "# mine\nEDGEMM_API_KEY=0123456789abcdef\nOTHER=1\n"
    assert secrets.read_text() == f"{kept}EDGEMM_TOKEN=emt1_new\n"
    assert secrets.stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert run(["service", "uninstall", "--user"]) == 0
    assert secrets.read_text() == kept
    assert f"kept {secrets}" in capsys.readouterr().out


def test_a_token_that_is_none_is_refused(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "install", "--user", *FLEET, "--token", "emt1_x\nEDGEMM_API_KEY=mine"]) == 2
    assert "--token: expected one word" in capsys.readouterr().err
    assert not places(Scope.USER).secrets.exists()
    assert not (systemctl / "calls").exists()


def test_a_token_among_the_options_of_run_is_not_in_the_unit(systemctl: Path) -> None:
    assert run(["service", "install", "--user", "--", *FLEET, "--token", "emt1_secret"]) == 0
    assert "secret" not in places(Scope.USER).unit.read_text()
    assert places(Scope.USER).secrets.read_text() == "EDGEMM_TOKEN=emt1_secret\n"


def test_a_key_in_the_environment_is_not_lost_without_a_word(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEMM_API_KEY", "0123456789abcdef")
    assert run(["service", "install", "--user", *FLEET]) == 2
    assert "give --api-key-file FILE" in capsys.readouterr().err
    assert not (systemctl / "calls").exists()
    (systemctl / "key").write_text("0123456789abcdef")
    assert run(["service", "install", "--user", *FLEET, "--api-key-file", str(systemctl / "key")]) == 0
    capsys.readouterr()
    monkeypatch.delenv("EDGEMM_API_KEY")
    assert run(["service", "install", "--user", *FLEET]) == 0
    assert "asks for none any more" in capsys.readouterr().out


def test_a_drop_in_of_the_owner_is_kept(systemctl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = places(Scope.USER).unit.with_name("edgemm.service.d") / "mine.conf"
    mine.parent.mkdir(parents=True)
    mine.write_text("[Service]\nNice=5\n")
    assert run(["service", "install", "--user", *FLEET]) == 0
    assert run(["service", "uninstall", "--user"]) == 0
    assert f"kept {mine.parent}" in capsys.readouterr().out
    assert mine.read_text() == "[Service]\nNice=5\n"


def test_a_configuration_is_handed_on_and_may_name_what_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "tiny.edgemm")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "edgemm.toml"
    file.write_text('bundles = ["tiny.edgemm"]\nport = 9000\n')
    assert run(["service", "show", "--user", "--config", "edgemm.toml"]) == 0
    assert f"run --config {tmp_path}/edgemm.toml\n" in capsys.readouterr().out
    file.write_text('fleet = "https://fleet.example"\n')
    assert run(["service", "show", "--user", "--config", "edgemm.toml"]) == 0
    assert f"run --config {tmp_path}/edgemm.toml --state-dir %S/edgemm\n" in capsys.readouterr().out
    for text, message in (
        ('bundles = ["missing.edgemm"]\n', f"no bundle {tmp_path}/missing.edgemm"),
        ('bundles = ["tiny.edgemm"]\napi_key_file = "missing"\n', f"cannot read the API key from {tmp_path}/missing"),
        ('bundles = ["tiny.edgemm"]\nthreads = 0\n', "threads: expected a number from 1 to 1,024, found 0"),
    ):
        file.write_text(text)
        assert run(["service", "show", "--user", "--config", "edgemm.toml"]) == 2
        assert message in capsys.readouterr().err


def test_a_key_that_a_configuration_names_is_a_credential_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_arguments, "require_reach", lambda *_, **__: None)
    (tmp_path / "api.key").write_text("0123456789abcdef\n")
    (tmp_path / "edgemm.toml").write_text('fleet = "https://fleet.example"\napi_key_file = "api.key"\nport = 80\n')
    assert run(["service", "show", "--config", str(tmp_path / "edgemm.toml")]) == 0
    unit = capsys.readouterr().out
    assert f"LoadCredential=api-key-file:{tmp_path}/api.key\n" in unit
    assert "--api-key-file %d/api-key-file" in unit
    assert "CAP_NET_BIND_SERVICE" in unit
