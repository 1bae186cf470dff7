"""Real `edgemm` processes, from the line that says they are ready to SIGTERM and status 0."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(arguments: Sequence[str], *, until: str, env: Mapping[str, str] = os.environ) -> Iterator[re.Match[str]]:
    """Run `edgemm` and yield the match of `until` in the first line of its output that has one."""
    command = [sys.executable, "-m", "edgemm", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(env)
    ) as process:
        assert process.stdout is not None
        try:
            said: list[str] = []
            match = None
            while match is None:
                line = process.stdout.readline()
                assert line, f"{arguments} ended: {''.join(said)}"
                said.append(line)
                match = re.search(until, line)
            yield match
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert process.returncode == 0


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """Serve a bundle on a free port and yield the server's address."""
    with running(["run", str(bundle), "--port", "0"], until=r" is served at (http://[\d.:]+)") as match:
        yield match[1]
