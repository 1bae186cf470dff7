"""Device agents as processes of their own that start in milliseconds: forked off a server that has imported it all.

    with AgentServer() as server:
        agent = server.start(Life(url=fleet.url, state_dir=folder, port=port, ports=fleet.ports, kill="before …"))
        assert agent.wait() == -signal.SIGKILL

The server is `python -m simulators.forked_agents`: one thread, no sockets, so that what it forks is a fresh process.
Golden samples may be run in the agent itself, for starting Python is most of what they cost.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np
    import urllib3
    from msgspec import Struct

    from edgemm_runtime import engines
    from edgemm_runtime.agent import agent as agents
    from edgemm_runtime.agent.main import run_agent
    from edgemm_runtime.agent.state.agent_options import AgentLimits, AgentOptions
    from edgemm_runtime.engines import selftest
    from edgemm_runtime.engines.drivers import driver_of
    from edgemm_runtime.installed import available
    from simulators.full_disk import fill
    from simulators.kill_seam import KillSeam
    from simulators.record_writes import at_write

LIMITS = AgentLimits(backoff_first_s=0.02, backoff_max_s=0.2, telemetry_interval_s=0.3, reserve_bytes=0, spool_hold_s=0)


class SelfTest(StrEnum):
    """Where the golden samples of a version are run before it is staged."""

    CHILD = "in a child, as in production"
    HERE = "in the agent"
    NONE = "nowhere: every version passes"


class Life(Struct, frozen=True, kw_only=True):
    """One life of one agent."""

    url: str
    state_dir: str
    port: int
    ports: tuple[int, ...]
    """Where the fleet listens."""
    token: str | None = None
    name: str = "pi"
    record: str | None = None
    kill: str = ""
    selftest: SelfTest = SelfTest.HERE
    log: str | None = None
    """Where it logs; beside the state folder where None."""
    fill: str = ""
    """When the disk of the state folder is filled by somebody else, such as `after:staged`: the record's write."""
    kill_write: str = ""
    """The same, for a loss of power."""
    spool_bytes: int = AgentLimits().spool_bytes


class _Started(Struct, frozen=True, tag=True):
    pid: int


class _Ended(Struct, frozen=True, tag=True):
    pid: int
    status: int


class ForkedAgent:
    """One process as whoever started it sees it."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid, self.address = pid, address
        self._pool = urllib3.PoolManager(retries=False, timeout=30.0)
        self._status: queue.SimpleQueue[int] = queue.SimpleQueue()

    @property
    def over(self) -> bool:
        """Whether it ended, and `wait` returns at once."""
        return not self._status.empty()

    def ended(self, status: int) -> None:
        """Take note of the end; the server's reader calls this."""
        self._status.put(status)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for the end; return the exit status, negative for a signal.

        Raises:
            queue.Empty: it goes on.
        """
        status = self._status.get(timeout=timeout_s)
        self._pool.clear()
        return status

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def answer(self, x: list[float]) -> tuple[int, str, list[float]]:
        """Ask for a prediction; return the HTTP status (0: nobody listens), version and scores of the answer."""
        try:
            answer = self._pool.request("POST", f"{self.address}/predict/tiny", json={"inputs": [x]})
        except urllib3.exceptions.HTTPError:
            return 0, "", []
        if answer.status != 200:
            return answer.status, "", []
        found = answer.json()
        return 200, found["version"], found["outputs"]["scores"][0]


class AgentServer:
    """Starts agents; ends what is left of them with itself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulators.forked_agents"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._starting = threading.Lock()
        self._started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._known = threading.Condition()
        self._agents: dict[int, ForkedAgent] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        """End what still runs."""
        with self._known:
            for agent in self._agents.values():
                agent.send(signal.SIGKILL)

    def start(self, life: Life) -> ForkedAgent:
        with self._starting:
            assert self._process.stdin is not None
            self._process.stdin.write(msgspec.json.encode(life) + b"\n")
            self._process.stdin.flush()
            pid = self._started.get(timeout=60)
            agent = ForkedAgent(pid, f"http://127.0.0.1:{life.port}")
            with self._known:
                self._agents[pid] = agent
                self._known.notify_all()
        return agent

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = msgspec.json.decode(line, type=_Started | _Ended)
            if isinstance(told, _Started):
                self._started.put(told.pid)
                continue
            with self._known:
                self._known.wait_for(partial(self._agents.__contains__, told.pid))
                self._agents.pop(told.pid).ended(told.status)


def main() -> None:
    """Be the server: a life a line on stdin, what started and ended on stdout."""
    _import_everything()
    waking, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    import select

    children: set[int] = set()
    stdin = sys.stdin.buffer.raw  # type: ignore[union-attr]  # what is behind a pipe has it
    rest = b""
    going_on = True
    while going_on or children:
        ready, _, _ = select.select([waking, stdin] if going_on else [waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
            children -= _reap(sys.stdout.buffer)
        if stdin in ready:
            data = os.read(stdin.fileno(), 65536)
            going_on = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                children.add(_fork(msgspec.json.decode(line, type=Life), (waking, woken)))


def _import_everything() -> None:
    for engine in available():
        driver_of(engine)
    np.zeros(1)
    assert engines.available()


def _reap(out: BinaryIO) -> set[int]:
    found: set[int] = set()
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.add(pid)
        _say(out, _Ended(pid, os.waitstatus_to_exitcode(status)))


def _say(out: BinaryIO, told: Struct) -> None:
    out.write(msgspec.json.encode(told) + b"\n")
    out.flush()


def _fork(life: Life, unwanted: tuple[int, ...]) -> int:
    pid = os.fork()
    if pid:
        _say(sys.stdout.buffer, _Started(pid))
        return pid
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in unwanted:
            os.close(descriptor)
        _live(life)
        status = 0
    except BaseException:  # noqa: BLE001 - a process's boundary: what ended it is in its log
        traceback.print_exc()
    finally:
        os._exit(status)


def _live(life: Life) -> None:
    folder = Path(life.state_dir)
    path = folder.parent / f"{folder.name}.log" if life.log is None else Path(life.log)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    at_write(life.fill, lambda: fill(folder.parent))
    at_write(life.kill_write, lambda: os.kill(os.getpid(), signal.SIGKILL))
    record = None if life.record is None else Path(life.record)
    KillSeam(folder, ports=life.ports, record=record, kill=life.kill).install()
    if life.selftest is not SelfTest.CHILD:
        replaced = _selftest_here if life.selftest is SelfTest.HERE else (lambda *_, **__: None)
        agents.selftest.run_in_child = replaced  # type: ignore[attr-defined]  # where the agent looks it up
    run_agent(
        AgentOptions(
            fleet_url=life.url,
            state_dir=folder,
            token=life.token,
            name=life.name,
            port=life.port,
            limits=replace(LIMITS, spool_bytes=life.spool_bytes),
        )
    )


def _selftest_here(location: Any, variant_id: str, *, timeout_s: float, threads: int = 1) -> None:  # noqa: ARG001 - the real one's
    selftest.check(location, variant_id, threads=threads)


if __name__ == "__main__":
    main()
