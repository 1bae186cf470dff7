"""`edgemm run --fleet` refuses what can never work before it makes a folder or opens a port."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from edgemm.cli import run
from edgemm.trust.enrolment import create_token
from edgemm_runtime.agent import main
from edgemm_runtime.agent.agent import AgentEnding
from edgemm_runtime.agent.state.agent_options import AgentOptions

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


def test_a_folder_that_cannot_be_looked_into_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ("x" * 300)  # as one of somebody else, for the superuser too
    assert run(["run", "--fleet", URL, "--state-dir", str(folder), "--port", "0"]) == 1
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: state folder {folder}: File name too long")


def test_a_server_that_is_away_is_told_after_the_port_was_had(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    arguments = ["run", "--fleet", url, "--token", TOKEN, "--state-dir", str(tmp_path / "state"), "--port", "0"]
    assert run(arguments) == 1
    assert "is `edgemm fleet serve` running?" in capfd.readouterr().err


class _StillLoading:
    """An agent that is told to restart while an engine that loads a model has led stderr elsewhere, and hangs."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def recover(self) -> None:
        pass

    def believed_time_s(self) -> None:
        pass

    def source(self, key: object) -> None:
        raise AssertionError("nothing is served")

    def close(self) -> None:
        pass

    def run(self) -> AgentEnding:
        with open(os.devnull, "wb") as elsewhere:
            os.dup2(elsewhere.fileno(), 2)
        return AgentEnding.RESTART


def test_a_restart_while_a_model_loads_keeps_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place() -> tuple[int, int]:
        return os.fstat(2).st_dev, os.fstat(2).st_ino

    before, kept, found = place(), os.dup(2), []
    monkeypatch.setattr(main, "Agent", _StillLoading)
    monkeypatch.setattr(main, "identify", lambda *_: None)
    monkeypatch.setattr(os, "execv", lambda *_: found.append(place()))
    try:
        main.run_agent(AgentOptions(fleet_url=URL, token=TOKEN, state_dir=tmp_path, port=0))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert found == [before]


class _AskedToEndEarly(_StillLoading):
    """An agent that is asked to end while it makes ready what was active."""

    def recover(self) -> None:
        signal.raise_signal(signal.SIGTERM)

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> AgentEnding:
        assert self.stopped
        return AgentEnding.STOPPED


def test_an_end_that_is_asked_for_before_all_is_ready_comes_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "Agent", _AskedToEndEarly)
    monkeypatch.setattr(main, "identify", lambda *_: None)
    main.run_agent(AgentOptions(fleet_url=URL, token=TOKEN, state_dir=tmp_path, port=0))
