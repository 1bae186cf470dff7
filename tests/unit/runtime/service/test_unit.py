"""The text of the unit: what systemd makes of each word, and what it says of the whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgemm.errors import InputError
from edgemm_runtime.service.unit import STATE, Credential, Scope, ServiceSettings, certificate_of, quoted, unit_text

SETTINGS = ServiceSettings(
    scope=Scope.SYSTEM, program=sys.executable, arguments=["run", "a.edgemm"], secrets=Path("/etc/edgemm.env")
)
ODD = 'a "b" \\ $c 100% ö'


def lines(settings: ServiceSettings, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit_text(settings).splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain-1.0", "plain-1.0"),
        (STATE, STATE),
        (Credential("tls-key"), "%d/tls-key"),
        ("%d/tls-key", "%%d/tls-key"),
        ("100%", "100%%"),
        ("%S", "%%S"),
        ("$HOME", "$$HOME"),
        ("two words", '"two words"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_words_are_spelled_for_systemd(word: str, expected: str) -> None:
    assert quoted(word) == expected


@pytest.mark.parametrize("word", ["a\nb", "a\tb", "\x1b[1m", "\udcff"])
def test_what_no_unit_can_hold_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="give it another name"):
        quoted(word)
    with pytest.raises(InputError, match="give it another name"):
        unit_text(replace(SETTINGS, credentials={"tls-key": Path(word)}))


@pytest.mark.parametrize("path", ["/etc/key ", "/etc/key\\"])
def test_a_path_that_would_change_its_line_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot name a file that ends so"):
        unit_text(replace(SETTINGS, credentials={"tls-key": Path(path)}))


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("low_ports", [False, True])
def test_systemd_accepts_the_unit(scope: Scope, low_ports: bool, tmp_path: Path) -> None:
    path = tmp_path / "edgemm.service"
    settings = replace(
        SETTINGS,
        scope=scope,
        arguments=["run", "--name", ODD, "--state-dir", STATE, "--tls-key", Credential("tls-key")],
        credentials={"tls-key": Path("/etc") / ODD},
        low_ports=low_ports,
    )
    path.write_text(unit_text(settings))
    try:
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_right_to_low_ports_is_there_where_one_is_asked_for() -> None:
    for low_ports, found in ((False, [""]), (True, ["CAP_NET_BIND_SERVICE"])):
        settings = replace(SETTINGS, low_ports=low_ports)
        assert lines(settings, "CapabilityBoundingSet") == lines(settings, "AmbientCapabilities") == found


def test_credentials_are_brought_by_systemd_and_handed_on_at_a_reload() -> None:
    settings = replace(SETTINGS, credentials={"tls-key": Path("/a b/$k%"), "api-key-file": Path("/key")})
    assert lines(settings, "LoadCredential") == ["api-key-file:/key", "tls-key:/a b/$k%%"]
    (reload,) = lines(settings, "ExecReload")
    assert reload == f'+{sys.executable} service renew api-key-file:/key "tls-key:/a b/$$k%%"'
    assert lines(SETTINGS, "ExecReload") == ["kill -HUP $MAINPID"]


def test_variables_are_spelled_out_in_words_and_not_in_the_program() -> None:
    """systemd.service(5): the path of the program may not contain variables, so none is replaced in it."""
    (start,) = lines(replace(SETTINGS, program="/opt/$x 100%/edgemm", arguments=["$x"]), "ExecStart")
    assert start == '"/opt/$x 100%%/edgemm" $$x'


@pytest.mark.parametrize("scope", list(Scope))
def test_the_certificate_of_a_unit_is_found_again(scope: Scope) -> None:
    path = Path("/etc") / ODD / "cert.pem"
    system = scope is Scope.SYSTEM
    settings = replace(
        SETTINGS,
        scope=scope,
        arguments=["run", "--tls-cert", Credential("tls-cert") if system else str(path)],
        credentials={"tls-cert": path} if system else {},
    )
    assert certificate_of(unit_text(settings)) == path
    assert certificate_of(unit_text(SETTINGS)) is None
    assert certificate_of("ExecStart=/opt/edgemm run --tls-cert=/etc/c.pem --tls-key=/etc/k.pem") == Path("/etc/c.pem")
