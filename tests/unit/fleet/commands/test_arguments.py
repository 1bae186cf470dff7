"""What the command line makes of its arguments, without a server."""

from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm.times import span
from edgemm_fleet.commands.output import age, due, size
from edgemm_fleet.records.rollout_plan import Group


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["devices"], "not logged in to a fleet: edgemm fleet login URL"),
        (["serve", "nowhere"], "not a fleet folder (no fleet.json); make one: edgemm fleet init nowhere"),
        (["init", "x", "--name", "Not A Name"], "fleet name 'Not A Name': expected 1 to 63 of"),
        (["init", "x", "--public-url", "http://fleet.example"], "plain http:// is for loopback only"),
        (["login", "https://x", "--token", "nonsense"], "token: expected the text emp1_…"),
        (["rollout", "create", "m", "1.0.0", "--group", "0"], "expected a number of devices such as 5"),
        (["rollout", "create", "m", "1.0.0", "--group", "9" * 30], "at most 100,000,000"),
        (["rollout", "create", "m", "1.0.0", "--group", "120%"], "or a share such as 10%"),
        (["rollout", "create", "m", "1.0.0", "--soak", "soon"], "expected a duration such as 90s"),
        (["rollout", "create", "m", "1.0.0", "--where", "north"], "filter, column 1: 'north' is no term"),
        (["rollout", "create", "m", "1.0.0", "--error-threshold", "nan"], "'nan': expected a finite number"),
        (["rollout", "create", "m", "1.0.0", "--soak", "9" * 400 + "d"], "expected a duration from 0s to 3660d"),
        (["rollout", "pause", "r-1", "--for", "31d"], "'31d': expected a duration from 1s to 30d"),
        (["rollout", "list", "--limit", "9" * 20], "is not in the range 1<=x<=1000000"),
        (["token", "create", "--uses", "0"], "0 is not in the range x>=1"),
        (["people", "add", "ann", "--role", "king"], "'king' is not one of"),
        (["devices", "label", "d", "x"], "'x': expected NAME=VALUE"),
        (["devices", "label", "d", "site=a\x1b[2Jb"], "label 'a\\x1b[2Jb': expected letters that can be seen"),
        (["token", "create", "--label", "a\u202eb=c"], "expected letters that can be seen"),
        (["devices", "label", "d", "=x"], "expected NAME=VALUE"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_what_can_never_work_is_exit_status_2_and_one_clear_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", *arguments]) == 2
    assert said in capsys.readouterr().err


STATIC = ("--broker", "mqtts://u:p@h", "--device-login", "a:b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "x:y"], "--listen 'x:y': expected HOST:PORT or PORT"),
        (["--listen", "70000"], "--listen '70000'"),
        (["--keep-events", "0"], "--keep-events"),
        (["--broker", "tcp://x"], "--broker 'tcp://x': expected embedded, or mqtt(s)://"),
        (
            ["--broker", "mqtt://localhost"],
            "expected a login, by --broker-login-file or as mqtt://USER:PASSWORD@localhost",
        ),
        (["--broker", "mqtt://u:p@broker.example"], "plain mqtt:// is for loopback only; use mqtts://"),
        (
            [*STATIC, "--broker-ca", __file__],
            "expected a certificate in PEM",
        ),
        (["--broker-ca", __file__], "--broker-ca are for another broker: name it with --broker"),
        (["--mosquitto-reload", "true"], "go with --mosquitto FOLDER"),
        (["--mosquitto-certificate", "c.pem", "--mosquitto-key", "k.pem"], "go with --mosquitto FOLDER"),
        (["--mosquitto", "m", "--mosquitto-key", "k.pem"], "go together: give both, or neither"),
        (
            [
                "--broker",
                "mqtt://localhost",
                "--mosquitto",
                "m",
                "--mosquitto-certificate",
                "c",
                "--mosquitto-key",
                "k",
            ],
            "--mosquitto-certificate is for TLS",
        ),
        (["--device-login", "a:b"], "are for another broker: name it with --broker"),
        (["--broker", "mqtts://u:p@h", "--device-login", "ab"], "--device-login: expected USER:PASSWORD"),
        (["--broker", "mqtts://u:p@h"], "--broker mqtts://h: expected either --device-login USER:PASSWORD, a login"),
        (["--broker", "mqtts://u:p@h", "--device-login", "u:p"], "a login at that broker other than the manager's"),
        (["--broker", "mqtts://h", "--device-login", "a:b", "--mosquitto", "m"], "or --mosquitto FOLDER, which gives"),
        (["--listen", "0.0.0.0:8080"], "plain HTTP on 0.0.0.0: it is served on loopback only"),
        (["--public-url", "http://pi.local"], "plain http:// is for loopback only"),
    ],
)
def test_serve_refuses_what_cannot_be_before_it_starts_anything(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", "init", "f", "--public-url", "http://127.0.0.1:8080"]) == 0
    assert run(["fleet", "serve", "f", *options]) == 2
    assert said in capsys.readouterr().err


def test_init_prints_the_token_once_and_what_to_take_offline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", "init", "orchard"]) == 0
    said = capsys.readouterr().out
    assert "fleet        orchard in orchard" in said
    assert said.count("emp1_") == 2, "as it is, and in the address of the page: never for a command line"
    assert "Take orchard/offline-keys offline once your models are authorised" in said
    assert "edgemm fleet serve orchard" in said


def test_a_folder_of_a_later_version_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "fleet.json").write_text('{"format": 9}')
    assert run(["fleet", "serve", "f"]) == 1
    assert "fleet folder format 9 is newer than 1, which this edgemm reads: upgrade edgemm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("fleet.db", "fleet.db"),
        ("tls/certificate.pem", "tls/certificate.pem"),
        ("tuf/metadata/timestamp.json", "tuf/metadata/timestamp.json"),
        ("keys/credentials.key", "keys/credentials.key"),
    ],
)
def test_a_folder_of_which_a_part_is_lost_is_not_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str, named: str
) -> None:
    assert run(["fleet", "init", "f", "--public-url", "https://127.0.0.1:8443"]) == 0
    (tmp_path / "f" / lost).unlink()
    assert run(["fleet", "serve", "f", "--broker", "embedded:0"]) == 2
    assert f"found no {named}: a disk may not be mounted" in capsys.readouterr().err
    assert not (tmp_path / "f" / lost).exists()


@pytest.mark.parametrize(
    "command",
    [
        ["init"],
        ["serve"],
        ["login"],
        ["token", "create"],
        ["people", "add"],
        ["publish"],
        ["models", "authorize"],
        ["devices", "show"],
        ["rollout", "create"],
        ["rollout", "status"],
        ["audit"],
    ],
)
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fleet", *command, "--help"]) == 0
    assert "Usage: edgemm fleet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"), [("5", Group(count=5)), ("10%", Group(percent=10)), ("0.5%", Group(percent=0.5))]
)
def test_sizes_of_groups(text: str, expected: Group) -> None:
    from edgemm_fleet.commands.parameters import GROUP_SIZE

    assert GROUP_SIZE.convert(text, None, None) == expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15min", 900), ("1.5h", 5400), ("7d", 604_800), (5, 5)]
)
def test_durations(text: int | str, seconds: int) -> None:
    from edgemm_fleet.commands.parameters import DURATION

    assert DURATION.convert(text, None, None) == seconds


def test_ages_and_sizes_read_as_people_say_them() -> None:
    assert [age(None, now=0), age(100, now=100), age(100, now=161)] == ["never", "0 s ago", "1 min ago"]
    assert [due(200_000, now=100), due(100, now=100), due(100, now=161)] == ["in 2 d", "0 s ago", "1 min ago"]
    assert [span(0.4), span(7200), size(0), size(2_500_000), size(999)] == ["0 s", "2 h", "0 B", "2.5 MB", "999 B"]


def test_what_a_clock_dated_that_was_ahead_is_told_as_that() -> None:
    assert age(39 * 86400, now=0) == "by a clock 39 d ahead"
    assert [age(3, now=0), age(599, now=0)] == ["0 s ago", "0 s ago"], "the server's clock was corrected a little"
