"""A server as a process with all that it starts: how long to its first right answer, and what memory it holds."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import memory
from benchmarks.serving.memory import Memory
from benchmarks.serving.protocols import Request

_POLL_S = 0.005
_END_S = 15.0


@dataclass(frozen=True)
class Answer:
    """A response over HTTP."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class ServerProcess:
    """A server that was started in a session of its own; its output goes to `log`."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, port: int, log: Path) -> None:
        self.port, self._log = port, log
        self.started_s = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env={**os.environ, **env}, cwd=cwd, stdout=output, stderr=output, start_new_session=True
            )

    def wait_until(self, answered: Callable[[], bool], *, timeout_s: float) -> float:
        """Ask again and again; return the seconds from the start to the first right answer.

        Raises:
            RuntimeError: it ended, or there was none in time; the message has the end of its output.
        """
        while time.perf_counter() - self.started_s < timeout_s:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if answered():
                    return time.perf_counter() - self.started_s
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended with status {self._process.returncode}: {self.output()}")
            time.sleep(_POLL_S)
        raise RuntimeError(f"no right answer within {timeout_s:g} s: {self.output()}")

    def output(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace").strip()[-800:]

    def pids(self) -> frozenset[int]:
        """Return this process, its descendants, and what is in its session."""
        return family(self._process.pid)

    def memory(self) -> Memory:
        """Return what all its processes hold."""
        return memory.of(self.pids())

    def stop(self) -> None:
        """End it: asked first, killed after a while, with all that it started."""
        pids = self.pids()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        for pid in pids | self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def post(port: int, request: Request, *, timeout_s: float = 10.0) -> Answer:
    """Send one request to loopback on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        return Answer(response.status, response.read(), dict(response.getheaders()))
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def family(leader: int) -> frozenset[int]:
    """Return a process, its descendants, and the members of the session that it leads."""
    parents, found = {}, {leader}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                if int(fields[3]) == leader:
                    found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found)
