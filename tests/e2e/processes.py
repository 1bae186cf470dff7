"""The `edgemm` command as a user runs it: once with its output, or as a program that goes on until it is told to stop.

done = run_edgemm("inspect", "tiny-1.0.0.edgemm", "--json", at=place)
with Programs(place) as programs:
    device = programs.start("device-1", "run", "tiny-1.0.0.edgemm", "--port", "0")
    address = device.wait_for(r"address=(\\S+)")
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from simulators.waiting import eventually

_WITH_CTRL_C = ("env", "--default-signal=INT")
"""Undoes what a shell does to programs that it starts in the background: they ignore Ctrl-C."""
EDGEMM = Path(sys.executable).with_name("edgemm")
_LOG = re.compile(r"\d{4}-\d\d-\d\d |• |INFO: Created TensorFlow Lite")
STOP_S = 60.0
"""How long a program may take to end after SIGTERM or Ctrl-C."""


@dataclass(frozen=True)
class Place:
    """Where commands run: a current folder, and a home of their own for settings and state."""

    folder: Path
    home: Path

    @classmethod
    def make(cls, folder: Path) -> Place:
        """Make both under a folder."""
        home = folder / "home"
        home.mkdir(parents=True)
        return cls(folder, home)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a command: nothing of the developer's own settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("EDGEMM_", "XDG_"))}
        return kept | {"HOME": str(self.home), "COLUMNS": "200", "NO_COLOR": "1", "TF_CPP_MIN_LOG_LEVEL": "3"} | more


@dataclass(frozen=True)
class Done:
    """What a command that ended left behind."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that are neither log nor progress."""
        return [line for line in self.err.splitlines() if line and not _LOG.match(line)]

    def json(self) -> Any:
        """Return the one JSON document on stdout."""
        assert self.status == 0, self
        return json.loads(self.out)


def run_edgemm(*arguments: str | Path, at: Place, stdin: str = "", timeout_s: float = 120.0) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [str(EDGEMM), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=timeout_s,
        cwd=at.folder, env=at.environment(), check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


class Program:
    """One started process; what it prints is in two files."""

    def __init__(self, command: list[str], *, log: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [*_WITH_CTRL_C, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                env=dict(environment), start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out.read_text() + self.err.read_text()

    def wait_for(self, pattern: str, *, timeout_s: float = 60.0) -> str:
        """Wait until it printed a pattern; return the pattern's group."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.text)
            assert match or self.status is None, f"it ended with status {self.status}:\n{self.text}"
            return match

        eventually(found, f"it prints {pattern!r}", timeout_s=timeout_s)
        match = found()
        assert match is not None
        return match[match.re.groups]

    def wait(self, *, timeout_s: float = 60.0) -> Done:
        """Wait until it ends by itself."""
        status = self._process.wait(timeout_s)
        return Done(status, self.out.read_text(), self.err.read_text())

    def terminate(self) -> Done:
        """End it by SIGTERM."""
        self._process.terminate()
        return self.wait(timeout_s=STOP_S)

    def interrupt(self) -> Done:
        """End it as Ctrl-C does in a terminal: SIGINT to it and its children."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.wait(timeout_s=STOP_S)

    def hang_up(self) -> None:
        """Have it read its files again."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it and its children by SIGKILL, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass
class Programs:
    """Starts programs and kills what is left of them at the end of the block."""

    place: Place
    started: list[tuple[str, Program]] = field(default_factory=list)
    edgemm: Path = EDGEMM
    """What is started unless a program is named."""

    def start(self, name: str, *arguments: str | Path, program: Path | None = None) -> Program:
        """Start a program; `name` is for its log files."""
        program = program or self.edgemm
        logs = self.place.folder / "logs"
        logs.mkdir(exist_ok=True)
        found = Program(
            [str(program), *map(str, arguments)],
            log=logs / f"{len(self.started):02}-{name}.log",
            folder=self.place.folder,
            environment=self.place.environment(),
        )
        self.started.append((name, found))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for _, program in reversed(self.started):
            program.kill()

    def logs(self) -> str:
        """Return the last lines of each program."""
        return "\n".join(f"--- {name} (status {p.status})\n{p.text[-4000:]}" for name, p in self.started)


def refuses(done: Done, status: int, *words: str) -> None:
    """Assert that a command ended with a status, nothing on stdout, and one clear line that has all the words."""
    assert done.status == status, done
    assert done.out == "", done
    lines = [line for line in done.errors if not line.startswith(("Usage:", "Try "))]
    assert len(lines) == 1, done
    assert lines[0].lower().startswith("error: ") or lines == ["interrupted"], done
    assert len(lines[0]) > 20 or lines == ["interrupted"], done
    for word in words:
        assert word.lower() in lines[0].lower(), (word, lines[0])
