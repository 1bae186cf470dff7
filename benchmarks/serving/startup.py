"""A server's start, up to its first right answer, and the check that its answers are those of the bare interpreter."""

from __future__ import annotations

import numpy as np

from benchmarks.serving.processes import ServerProcess, free_port, post
from benchmarks.serving.protocols import Protocol
from benchmarks.serving.servers import Files, Server
from benchmarks.serving.subjects import Int8, Subject

_START_TIMEOUT_S = 90.0


def start(server: Server, files: Files) -> ServerProcess:
    """Start a server on a free port; its output goes to a file in the folder."""
    port = free_port()
    begun = server.start(files, port)
    log = files.folder / f"{server.name}.log"
    return ServerProcess(begun.command, env=begun.env, cwd=begun.cwd, port=port, log=log)


def wait(process: ServerProcess, protocol: Protocol, subject: Subject, expected: Int8) -> float:
    """Wait until sample 0 is answered rightly; return the seconds since the start.

    Raises:
        RuntimeError: it ended, or there was no right answer in time.
    """
    request = protocol.ask(subject.samples()[0])

    def answered() -> bool:
        answer = post(process.port, request)
        return answer.status == 200 and np.array_equal(protocol.read(answer.body, answer.headers), expected)

    return process.wait_until(answered, timeout_s=_START_TIMEOUT_S)


def check(process: ServerProcess, protocol: Protocol, subject: Subject, answers: Int8) -> None:
    """Compare a server's answers to the first samples with the bare interpreter's.

    Raises:
        RuntimeError: one differs.
    """
    for sample, expected in zip(subject.samples(), answers, strict=False):
        answer = post(process.port, protocol.ask(sample))
        if answer.status != 200:
            raise RuntimeError(f"{protocol.name}: status {answer.status}: {answer.body[:300]!r}")
        scores = protocol.read(answer.body, answer.headers)
        if not np.array_equal(scores, expected):
            raise RuntimeError(f"{protocol.name}: expected {expected.tolist()}, found {scores.tolist()}")
