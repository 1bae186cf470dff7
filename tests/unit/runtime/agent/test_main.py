"""`edgemm run --fleet` refuses what can never work before it makes a folder or opens a port."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm.enrolment import create_token

TOKEN = str(create_token(root_digest="0" * 64, tls_fingerprint=None))
URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--fleet", URL, "--token", "hello"], "expected the text emt1_", id="no token"),
        pytest.param(["--fleet", URL, "--token", TOKEN[:-4]], "expected the text emt1_", id="a token cut short"),
        pytest.param(["--fleet", URL], "expected --token emt1_", id="none at the first start"),
        pytest.param(["--fleet", "mqtt://fleet", "--token", TOKEN], "expected https://HOST", id="wrong scheme"),
        pytest.param(["--fleet", "http://fleet", "--token", TOKEN], "for loopback only", id="plain http"),
        pytest.param(
            ["--fleet", URL, "--token", TOKEN, "--label", f"room={'x' * 200}"], "with these labels", id="a long label"
        ),
    ],
)
def test_bad_options_leave_nothing_behind(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    *,
    arguments: list[str],
    message: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.INFO):
        port = str(taken.getsockname()[1])
        # The port is taken: whoever tried to open it would say so.
        assert run(["run", *arguments, "--state-dir", str(tmp_path / "state"), "--port", port]) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "state").exists()
    assert "serving" not in caplog.text


def test_a_server_that_is_away_is_told_after_the_port_was_had(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    arguments = ["run", "--fleet", url, "--token", TOKEN, "--state-dir", str(tmp_path / "state"), "--port", "0"]
    assert run(arguments) == 1
    assert "is `edgemm fleet serve` running there?" in capfd.readouterr().err
