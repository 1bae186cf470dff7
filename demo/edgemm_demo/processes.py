"""The demo's processes: each is started with a log file of its own, and all are ended with the demo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edgemm.errors import EdgemmError

T = TypeVar("T")
_POLL_S = 0.05
_STOP_S = 10.0


class DemoError(EdgemmError):
    """The demo did not go as it must."""


def edgemm(*arguments: object) -> list[str]:
    """Return the command line of an `edgemm` command in this Python."""
    return [sys.executable, "-m", "edgemm", *(str(a) for a in arguments)]


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Processes:
    """Processes in one folder and environment; leaving the block ends those in the background.

    Settings of edgemm go to the folder too, so that a fleet that the user is logged in to stays untouched.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = os.environ | {"XDG_CONFIG_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process that logs to `NAME.log`."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, command: Sequence[str]) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            DemoError: it failed; with the last line that it said.
        """
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise DemoError(f"`{' '.join(command[2:])}` ended with status {done.returncode}: {said}")
        return done.stdout

    def wait_for(self, what: str, probe: Callable[[], T | None], *, seconds: float) -> T:
        """Ask `probe` until it answers something true.

        Raises:
            DemoError: a process ended meanwhile, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := probe():
                return answer
            self._check_alive()
            time.sleep(_POLL_S)
        raise DemoError(f"waited {seconds:.0f} s for {what}; the logs are in {self._folder}")

    def watch(self) -> None:
        """Let the processes run until Ctrl-C.

        Raises:
            DemoError: one of them ended.
        """
        while True:
            self._check_alive()
            time.sleep(1)

    def _check_alive(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"{name} ended with status {process.returncode}: {self._last_line(name)}")

    def _last_line(self, name: str) -> str:
        lines = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End all processes: ask first, then insist."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
