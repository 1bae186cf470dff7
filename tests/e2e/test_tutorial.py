"""docs/tutorial.md, as somebody follows it: its programs and commands are run in order, and answer what it shows.

What trains and converts runs in the environment of the estimators; the fleet manager and the device run in this one.
A `…` on the page stands for anything. Ports are of this machine, and tokens are the ones that were printed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.mosquitto import free_port
from tests.clients.environments import ROOT, environment
from tests.docs.pages import DOCS, Block, blocks
from tests.e2e.processes import Place, Programs

pytestmark = [
    pytest.mark.converter, pytest.mark.runtime, pytest.mark.fleet, pytest.mark.service, pytest.mark.slow,
    pytest.mark.timeout(600),
]  # fmt: skip
PAGE = DOCS / "tutorial.md"
PACKAGES = ("core", "converter", "runtime", "fleet", "demo", "")
ONLY_TO_CONVERT = ("joblib", "lightgbm", "onnx", "scipy", "skl2onnx", "sklearn", "skops", "tensorflow", "xgboost")
READY = {"fleet serve": "(serving fleet)", "run": r"(address=|served at )", "run --fleet": "(connected)"}


class Reader:
    """Somebody who does what the page says, in one folder."""

    def __init__(self, place: Place, programs: Programs, python: Path) -> None:
        self._place, self._programs = place, programs
        self._ports = {port: free_port() for port in ("8443", "8080")}
        self._printed: dict[str, str] = {}
        paths = [ROOT / package for package in PACKAGES]
        self._path = ":".join(map(str, paths))
        self._bin = place.folder / "bin"
        self._bin.mkdir()
        blocked = place.folder / "blocked"
        for name in ONLY_TO_CONVERT:
            (blocked / name).mkdir(parents=True)
            (blocked / name / "__init__.py").write_text(f"raise ImportError('{name} is only to convert')\n")
        alone = f"PYTHONPATH={blocked}:$PYTHONPATH exec {sys.executable}"
        self._program("edgemm", f'[ "$1" = convert ] && exec {python} -m edgemm "$@"\n{alone} -m edgemm "$@"')
        self._program("python", f'exec {python} "$@"')

    def _program(self, name: str, text: str) -> None:
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def follow(self, block: Block) -> None:
        """Do what one block says."""
        marker = block.marker or ""
        if marker.startswith("file "):
            (self._place.folder / marker.split()[1]).write_text(block.text)
        elif marker == "runs on":
            self._start(block)
        elif marker == "run":
            for command, shown in _commands(block):
                self._compare(block, command, self._run(command), shown)

    def _here(self, text: str) -> str:
        for port, free in self._ports.items():
            text = text.replace(f":{port}", f":{free}")
        for name, value in self._printed.items():
            text = text.replace(f"{name}_…", value)
        return text

    def _environment(self) -> dict[str, str]:
        found = self._place.environment(PYTHONPATH=self._path)
        return found | {"PATH": f"{self._bin}:{found['PATH']}"}

    def _run(self, command: str) -> str:
        asks = command.startswith("edgemm fleet login")
        done = subprocess.run(
            ["bash", "-c", self._here(command) + (" --token-file -" if asks else "")], cwd=self._place.folder,
            env=self._environment(), input=self._printed["emp1"] if asks else "", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        said = done.stdout
        assert done.returncode == 0, (command, said)
        self._printed |= {found[1]: found[0] for found in re.finditer(r"(em[pt]1)_[\w.-]+", said)}
        return said

    def _start(self, block: Block) -> None:
        [(command, shown)] = _commands(block)
        words = shlex.split(self._here(command))[1:]
        more = ["--broker", f"embedded:{free_port()}"] if words[:2] == ["fleet", "serve"] else []
        more += ["--port", str(self._ports["8080"])] if words[0] == "run" else []
        kind = " ".join(words[:2]) if words[1] in {"serve", "--fleet"} else words[0]
        started = self._programs.start(kind.replace(" ", "-"), *words, *more, program=self._bin / "edgemm")
        started.wait_for(READY[kind])
        for line in shown:
            started.wait_for(f"({_pattern(self._here(line))})")

    def _compare(self, block: Block, command: str, said: str, shown: list[str]) -> None:
        pattern = "\n".join(_pattern(self._here(line)) for line in shown)
        assert re.search(f"^{pattern}$", said, re.MULTILINE), f"{block}: {command}\n{said}\nthe page has\n{shown}"


def _commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console with the lines that it answers."""
    for part in re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, *shown = part.rstrip("\n").split("\n")
        yield command, shown


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…")) if line != "…" else r"(.*\n)*?.*"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    python = environment("estimators")
    place = Place.make(tmp_path)
    with Programs(place) as programs:
        yield Reader(place, programs, python)


def test_the_tutorial_answers_what_it_shows(reader: Reader) -> None:
    followed = blocks(PAGE)
    assert {block.marker for block in followed} >= {"run", "runs on"}
    for block in followed:
        reader.follow(block)
