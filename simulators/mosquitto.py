"""A real Mosquitto on a free loopback port, with the files that the fleet manager generated."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Self

from simulators.ports import free_port
from simulators.waiting import eventually

__all__ = ["MosquittoProcess", "free_port", "write_open_configuration"]


def write_open_configuration(folder: Path, *, port: int) -> None:
    """Write a configuration that lets anybody in, for tests that are not about who may do what."""
    lines = (f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false")
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")


class MosquittoProcess:
    """Runs Mosquitto while the block lasts; its log is in `log`."""

    def __init__(self, program: Path, folder: Path, *, port: int, verbose: bool = True) -> None:
        self._program, self._folder, self._port, self._verbose = program, folder, port, verbose
        self.log = folder / "mosquitto.log"

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            options = ("-v",) if self._verbose else ()
            command = [str(self._program), *options, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(self._answers, "Mosquitto listens")
        except AssertionError as err:
            self.__exit__()
            raise AssertionError(self.log.read_text()) from err
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it by SIGKILL: what it held in memory is gone. It may be started again."""
        self._process.kill()
        self._process.wait(60)

    def said(self, text: str) -> bool:
        """Tell whether the log has a text."""
        return text in self.log.read_text()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Mosquitto ended"
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=30).close()
        except OSError:
            return False
        return True
