"""The service is installed whole or not at all, by a stand-in for systemctl that can be told to refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm.errors import EnvironmentFailure
from edgemm_runtime.commands import service
from edgemm_runtime.service.installation import Places, Systemd, install, out_of_reach, places, uninstall
from edgemm_runtime.service.unit import STATE, Scope, quoted, unit_text
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
        install(systemd, where, unit="new", secrets="EDGEMM_TOKEN=x\n")
    assert (where.unit.read_text() if where.unit.exists() else None) == before
    assert not where.secrets.exists()


def test_a_folder_that_is_none_is_named(systemctl: Path) -> None:
    (systemctl / "file").write_text("")
    where = Places(systemctl / "file" / "edgemm.service", systemctl / "edgemm.env")
    systemd = Systemd(Scope.SYSTEM, booted=systemctl / "booted")
    with pytest.raises(EnvironmentFailure, match=str(systemctl / "file")):
        install(systemd, where, unit="new", secrets=None)
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
        ([*FLEET, "--api-key-file", "missing"], "cannot read the API key from missing"),
        ([*FLEET, "--tls-cert", "missing"], "--tls-cert and --tls-key go together"),
        ([*FLEET, "--tls-cert", "missing", "--tls-key", "missing"], "cannot serve HTTPS with missing"),
        ([*FLEET, "--shadow", "missing.edgemm"], "no bundle missing.edgemm"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_is_written(
    arguments: list[str], message: str, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["service", "install", "--user", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (systemctl / "calls").exists()
    assert not places(Scope.USER).unit.exists()


def test_bundles_are_named_by_their_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "tiny.edgemm")
    monkeypatch.chdir(tmp_path)
    assert run(["service", "show", "--user", "--port", "9000", "tiny.edgemm"]) == 0
    assert f"run --port 9000 {tmp_path}/tiny.edgemm\n" in capsys.readouterr().out


def test_files_of_options_are_named_by_their_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service starts in another folder than the one that this was typed in."""
    make_bundle(tmp_path / "tiny.edgemm")
    make_bundle(tmp_path / "next.edgemm", version="2.0.0")
    (tmp_path / "limits.toml").write_text("[serving]\nthreads = 2\n")
    (tmp_path / "key").write_text("0123456789abcdef\n")
    monkeypatch.chdir(tmp_path)
    options = ["--config", "limits.toml", "--api-key-file=key", "--shadow", "next.edgemm", "--manage", "manage.sock"]
    assert run(["service", "show", "--user", *options, "tiny.edgemm"]) == 0
    lie = str(tmp_path)
    assert (
        f"run --config {lie}/limits.toml --api-key-file={lie}/key --shadow {lie}/next.edgemm "
        f"--manage {lie}/manage.sock {lie}/tiny.edgemm\n"
    ) in capsys.readouterr().out
    assert run(["service", "show", "--user", "--manage", "127.0.0.1:9001", "tiny.edgemm"]) == 0
    assert f"--manage 127.0.0.1:9001 {lie}/tiny.edgemm" in capsys.readouterr().out


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
        ("threads = 0\n", "threads: expected a number from 1 to 1,024, found 0"),
    ):
        file.write_text(text)
        assert run(["service", "show", "--user", "--config", "edgemm.toml"]) == 2
        assert message in capsys.readouterr().err


def test_what_lies_in_a_home_folder_is_out_of_the_systems_reach(tmp_path: Path) -> None:
    inside, outside = tmp_path / "home" / "pi" / "a.edgemm", tmp_path / "opt" / "a.edgemm"
    assert out_of_reach([outside, inside], [tmp_path / "home"]) == inside
    assert out_of_reach([outside], [tmp_path / "home"]) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain-1.0", "plain-1.0"),
        (STATE, STATE),
        ("100%", "100%%"),
        ("%S", "%%S"),
        ("$HOME", "$$HOME"),
        ("two words", '"two words"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("", '""'),
    ],
)
def test_words_are_spelled_for_systemd(word: str, expected: str) -> None:
    assert quoted(word) == expected


@pytest.mark.parametrize("scope", list(Scope))
def test_systemd_accepts_the_unit(scope: Scope, tmp_path: Path) -> None:
    path = tmp_path / "edgemm.service"
    words = [sys.executable, "run", "--name", 'a "b" \\ $c 100%', "--state-dir", STATE]
    path.write_text(unit_text(scope, words, secrets="/etc/edgemm.env"))
    try:
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    assert (done.returncode, done.stderr) == (0, "")
