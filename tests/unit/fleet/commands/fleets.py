"""A real `edgemm fleet serve` process, and the command line as a person types it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.ports import free_port
from simulators.postgresql import served_options

__all__ = ["EDGEMM", "HEEDING", "Person", "Served", "free_port", "init"]
EDGEMM = (sys.executable, "-m", "edgemm")
# A shell's background job ignores SIGINT, and so would what it starts.
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edgemm.cli import main; main()"
START_S = 60


@dataclass
class Person:
    """Somebody with a configuration folder of their own."""

    config: Path

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run `edgemm fleet …` and return what it prints; the exit status has to be `status`."""
        done = self.attempt(*arguments)
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"XDG_CONFIG_HOME": str(self.config), "NO_COLOR": "1"}
        command = [*EDGEMM, "fleet", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@dataclass
class Served:
    """A fleet folder and, while it runs, its server process."""

    folder: Path
    url: str
    admin: Person
    token: str
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)

    def start(self, *options: str) -> None:
        """Start the server and wait until it says that it serves."""
        # In the folder beside it, as people type it: a relative path has to do.
        command = [sys.executable, "-c", HEEDING, "fleet", "serve", self.folder.name, "--broker", "embedded:0"]
        if "--db" not in options:
            options = (*options, *served_options(self.folder))
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.said = _read_until(self.process, "serving fleet")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        self.said += rest.splitlines()
        status = self.process.returncode
        self.process = None
        return status


def init(folder: Path, *, scheme: str = "https") -> Served:
    """Make a fleet with the command line and log its administrator in later."""
    admin = Person(folder.parent / "admin")
    url = f"{scheme}://127.0.0.1:{free_port()}"
    facts = admin.json("init", str(folder), "--name", "plant", "--public-url", url)
    return Served(folder, url, admin, facts["token"])


def _read_until(process: subprocess.Popen[str], mark: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    watchdog = threading.Timer(START_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            lines.append(re.sub(r"\s+", " ", line.strip()))
            if mark in line:
                return lines
        raise AssertionError(f"serve ended with {process.wait()}: {lines}")
    finally:
        watchdog.cancel()
