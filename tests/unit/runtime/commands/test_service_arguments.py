"""The options of `edgemm run` as the unit gets them: whole paths, secrets as credentials, rights that are needed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from edgemm.cli import run
from edgemm.errors import InputError
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.commands import service_arguments
from edgemm_runtime.commands.service_arguments import read_arguments
from edgemm_runtime.service.unit import STATE, Credential, Scope

FLEET = ["--fleet", "https://fleet.example:8443"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command is typed, with a bundle, a certificate, a key and a configuration."""
    for name in ("tiny.edgemm", "next.edgemm"):
        (tmp_path / name).touch()
    create_certificate(tmp_path / "cert1.pem", tmp_path / "key.pem", names=(), now=datetime.now(UTC))
    (tmp_path / "cert.pem").symlink_to("cert1.pem")
    (tmp_path / "api key").write_text("0123456789abcdef\n")
    (tmp_path / "limits.toml").write_text("[serving]\nthreads = 2\n")
    monkeypatch.chdir(tmp_path)
    # A test's folder is for its user alone; what the sandbox refuses has tests of its own.
    monkeypatch.setattr(service_arguments, "require_reach", lambda path, *, groups: None)
    return tmp_path


def words(*arguments: str, scope: Scope = Scope.USER) -> list[str]:
    return list(read_arguments(arguments, scope).words)


@pytest.mark.parametrize(
    "given",
    [
        "tiny.edgemm",
        "./tiny.edgemm",
        "../{name}/tiny.edgemm",
        "{folder}/tiny.edgemm",
        "~/tiny.edgemm",
        "link.edgemm",
        "folder/tiny.edgemm",
    ],
)
def test_a_bundle_is_named_by_its_whole_path(given: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "link.edgemm").symlink_to("tiny.edgemm")
    (folder / "folder").symlink_to(".")
    assert words(given.format(folder=folder, name=folder.name)) == ["run", f"{folder}/tiny.edgemm"]


def test_names_that_are_given_twice_are_not_mixed_up(folder: Path) -> None:
    (folder / "9000").touch()
    assert words("--port", "9000", "--shadow", "next.edgemm", "9000", "tiny.edgemm") == [
        "run", "--port", "9000", "--shadow", f"{folder}/next.edgemm", f"{folder}/9000", f"{folder}/tiny.edgemm",
    ]  # fmt: skip


def test_files_of_options_are_named_by_their_whole_path(folder: Path) -> None:
    """A service starts in another folder than the one that this was typed in."""
    options = ["--config", "limits.toml", "--api-key-file=api key", "--quiet", "--manage", "manage.sock"]
    assert words(*options, "--shadow=next.edgemm", "--unix-socket", "./a.sock", "--", "tiny.edgemm") == [
        "run", "--config", f"{folder}/limits.toml", "--api-key-file", f"{folder}/api key", "--quiet",
        "--manage", f"{folder}/manage.sock", "--shadow", f"{folder}/next.edgemm", "--unix-socket", f"{folder}/a.sock",
        f"{folder}/tiny.edgemm",
    ]  # fmt: skip
    assert words("--manage", "127.0.0.1:9001", "tiny.edgemm")[:3] == ["run", "--manage", "127.0.0.1:9001"]


def test_what_is_no_path_stays_as_it_was_typed(folder: Path) -> None:
    labels = ["--label", "room=hall", "--label", "a=~/b", "--name", "tiny.edgemm", "--telemetry-interval", "5m"]
    assert words(*FLEET, *labels) == ["run", *FLEET, *labels, "--state-dir", STATE]


@pytest.mark.parametrize("given", ["~nobody-of-this-name/tiny.edgemm", "ring"])
def test_a_path_that_leads_nowhere_is_told(given: str, folder: Path) -> None:
    (folder / "ring").symlink_to("ring")
    with pytest.raises(InputError):
        words(given)


SECRETS = ["--tls-cert", "cert.pem", "--tls-key", "./key.pem", "--api-key-file", "api key"]


def test_systemd_brings_the_systems_service_its_secrets(folder: Path) -> None:
    found = read_arguments([*SECRETS, "tiny.edgemm"], Scope.SYSTEM)
    assert found.words[:7] == [
        "run", "--tls-cert", "tls-cert", "--tls-key", "tls-key", "--api-key-file", "api-key-file",
    ]  # fmt: skip
    assert [type(word) for word in found.words[2:7:2]] == [Credential] * 3
    assert found.credentials == {
        "tls-cert": folder / "cert.pem",  # the link: after a renewal it leads elsewhere
        "tls-key": folder / "key.pem",
        "api-key-file": folder / "api key",
    }
    assert found.has_key


def test_a_users_service_reads_its_secrets_itself(folder: Path) -> None:
    found = read_arguments([*SECRETS, "tiny.edgemm"], Scope.USER)
    assert found.words[1:3] == ["--tls-cert", f"{folder}/cert.pem"]
    assert found.credentials == {}


@pytest.mark.parametrize(
    ("options", "low"),
    [
        ([], False),
        (["--port", "0"], False),
        (["--port", "1024"], False),
        (["--port", "443"], True),
        (["--manage", "127.0.0.1:81"], True),
        (["--manage", "[::1]:81"], True),
        (["--listen", "::1"], False),
        (["--listen", "fe80::80"], False),
    ],
)
def test_the_right_to_low_ports_is_asked_for_by_any_of_them(options: list[str], low: bool, folder: Path) -> None:
    assert read_arguments([*options, "tiny.edgemm"], Scope.SYSTEM).low_ports is low


def test_a_users_service_gets_no_low_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_arguments, "_UNPRIVILEGED", folder / "first")
    for text, refused in (("1024\n", True), ("80\n", False)):
        (folder / "first").write_text(text)
        if refused:
            with pytest.raises(InputError, match="leave --user out, or give one from 1024 on"):
                words("--port", "443", "tiny.edgemm")
        else:
            assert "443" in words("--port", "443", "tiny.edgemm")


@pytest.mark.parametrize("option", ["--unix-socket", "--manage"])
def test_the_systems_sockets_are_in_its_runtime_folder(option: str, folder: Path) -> None:
    assert read_arguments([option, "/run/edgemm/a.sock", "tiny.edgemm"], Scope.SYSTEM).sockets
    for path in ("a.sock", "/run/a.sock", str(folder / "a.sock")):
        with pytest.raises(InputError, match=rf"give {option} /run/edgemm/a\.sock"):
            read_arguments([option, path, "tiny.edgemm"], Scope.SYSTEM)


def test_the_systems_state_is_where_systemd_makes_it(folder: Path) -> None:
    for given, found in ((STATE, STATE), ("/var/lib/edgemm", STATE), ("/var/lib/edgemm/b", "/var/lib/edgemm/b")):
        assert read_arguments([*FLEET, "--state-dir", given], Scope.SYSTEM).words[-1] == found
    with pytest.raises(InputError, match="leave it out"):
        read_arguments([*FLEET, "--state-dir", "state"], Scope.SYSTEM)
    assert words(*FLEET, "--state-dir", "state")[-1] == f"{folder}/state"


@pytest.mark.parametrize(
    "given", [lambda f: [str(f / "tiny.edgemm")], lambda f: [*FLEET, "--config", str(f / "limits.toml")]]
)
def test_what_the_systems_service_could_not_read_is_refused(
    given: Callable[[Path], list[str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.undo()
    folder.chmod(0o700)
    assert run(["service", "show", *given(folder)]) == 2
    assert "error: " in capsys.readouterr().err


def test_options_are_checked_by_the_parser_of_run() -> None:
    with pytest.raises(click.UsageError):
        words("--nonsense", *FLEET)


def test_what_only_prints_is_no_service(folder: Path) -> None:
    with pytest.raises(click.UsageError, match="--print-config serves nothing"):
        words("tiny.edgemm", "--print-config")


def test_an_address_of_a_fleet_that_can_never_work_is_told_now(folder: Path) -> None:
    with pytest.raises(InputError, match="use the https:// URL"):
        words("--fleet", "http://fleet.example:8443")


def test_an_empty_list_of_addresses_in_a_file_is_told_now(folder: Path) -> None:
    (folder / "limits.toml").write_text("listen = []\n")
    with pytest.raises(InputError, match="--listen: expected an address .*, found none"):
        words("tiny.edgemm", "--config", "limits.toml")


def test_a_token_in_a_file_is_read_now_and_stands_in_no_unit(folder: Path) -> None:
    (folder / "token").write_text("emt1_abc\n")
    for scope in Scope:
        found = read_arguments((*FLEET, "--token-file", "token"), scope)
        assert (found.token, found.credentials) == ("emt1_abc", {})
        assert not [word for word in found.words if "token" in str(word)]
    (folder / "token").write_text("two words")
    with pytest.raises(InputError, match="expected one word"):
        read_arguments((*FLEET, "--token-file", "token"), Scope.USER)
