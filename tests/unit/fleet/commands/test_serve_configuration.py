"""`edgemm fleet serve --config`: the file gives what the options give, and a secret is in a file of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgemm.cli import run
from edgemm_fleet.commands import serve
from edgemm_fleet.server.process import ServeSettings


class _Started(Exception):  # noqa: N818 - no error: where the test stops
    """The manager would start with these settings."""

    def __init__(self, folder: Any, settings: ServeSettings, **_: Any) -> None:
        super().__init__()
        self.folder, self.settings = folder, settings


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> _Started:
    def stand_in(*args: Any, **kwargs: Any) -> None:
        raise _Started(*args, **kwargs)

    monkeypatch.setattr(serve, "FleetProcess", stand_in)
    with pytest.raises(_Started) as caught:
        run(["fleet", "serve", *arguments])
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.toml"


def test_a_file_gives_all_that_the_command_line_gives(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "manager").write_text("man@x:p:w\n")
    (file.parent / "device").write_text("dev:pw")
    file.write_text(
        'folder = "lab"\nlisten = "127.0.0.1:9443"\nbroker = "mqtts://broker.example"\nkeep_telemetry = 2\n'
        'broker_login_file = "manager"\ndevice_login_file = "device"\npage = false\n'
    )
    found = started(monkeypatch, "--config", str(file), "--keep-events", "3")
    assert found.folder.root == file.parent / "lab"
    assert (found.settings.host, found.settings.port, found.settings.page) == ("127.0.0.1", 9443, False)
    assert (found.settings.broker.login, found.settings.broker.device_login) == (("man@x", "p:w"), ("dev", "pw"))
    assert (found.settings.retention.telemetry_s, found.settings.retention.events_s) == (2 * 86400, 3 * 86400)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep_telemetri = 1\n", "there is no setting 'keep_telemetri'; did you mean keep_telemetry?"),
        ("keep_telemetry = 0\n", "keep_telemetry: expected a whole number from 1 to 36,500, found 0"),
        ("page = 'no'\n", 'page: expected true or false, found "no"'),
        ("broker = 'mqtts://u:geheim@h'\n", "broker: not with a login: put that into a file"),
        ("device_login = 'u:geheim'\n", "device_login: not in a file: put it into a file"),
        ("[advanced]\n", "there is no setting 'advanced'"),
        ("broker = 'mqtts://h'\nbroker_login_file = 'missing'\n", "missing: cannot be read: No such file"),
        ("broker_ca = 'missing.pem'\n", "missing.pem' does not exist"),
    ],
)
def test_a_mistake_is_one_clear_line(text: str, message: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(text)
    assert run(["fleet", "serve", str(file.parent / "lab"), "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "geheim" not in said


def test_a_login_that_was_typed_is_not_shown_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fleet", "serve", "lab", "--broker", "mqtts://u:geheim@h/path"]) == 2
    assert "geheim" not in capsys.readouterr().err


def test_what_holds_is_printed_without_logins_and_nothing_is_served(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text('folder = "lab"\nkeep_telemetry = 2\n')
    arguments = ["--config", str(file), "--broker", "mqtts://u:geheim@h", "--device-login", "d:geheim"]
    assert run(["fleet", "serve", *arguments, "--print-config"]) == 0
    text = capsys.readouterr().out
    assert "geheim" not in text
    found = tomllib.loads(text)
    assert (found["folder"], found["keep_telemetry"], found["broker"]) == (str(file.parent / "lab"), 2, "mqtts://h")
    assert "# device_login is set by the command line, and not shown" in text
    assert not (file.parent / "lab").exists()
