"""Models built once, and conversions of them run once, for all tests of the converter and all workers of a run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest
from tests.once import named, once
from tests.programs import Forked, environment

if find_spec("ai_edge_quantizer") is None:
    # They import the quantizer, which the environment of the quick tests lacks.
    collect_ignore = ["export/test_read_back.py", "formats/test_numbers_that_are_none.py", "tails/test_tail_plan.py"]


RAW = re.compile(
    r"ONNXRuntimeError|NOT_IMPLEMENTED|INVALID_|Status Message|Node number|failed to prepare|XNNPACK|custom op:"
    r"|make_sure|\[\[\{\{|Graph execution error|\w\.(?:cc|cpp|h|py):\d|/onnxruntime_src|site-packages|object at 0x"
    r"|\b(?!ParityError)[A-Z]\w+(?:Error|Exception): |[\x00-\x08\x0b-\x1f\x7f]"
)
"""What libraries say and no message of edgemm does."""


@dataclass(frozen=True)
class Run:
    """How one `edgemm convert` ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The last line on stderr."""
        return self.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def told_by(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return the JSON that a program of `simulators` writes; a process of its own, since it uses TensorFlow."""

    def told(module: str, *arguments: str) -> dict[str, Any]:
        def run(folder: Path) -> None:
            (folder / "told.json").write_text(forked.simulator(module, *arguments))

        asked = " ".join((module, *arguments))
        return dict(json.loads((once(tmp_path_factory, f"told by {asked}", run) / "told.json").read_bytes()))

    return told


def run_convert(*arguments: object, folder: Path, **env: str) -> Run:
    """Run `edgemm convert` as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "edgemm", "convert", *map(str, arguments)],
        cwd=folder, env=environment(**env), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


def refused(run: Callable[[], Run], *, folder: Path, status: int = 2) -> str:
    """Return the last line of a conversion that must fail with this status and leave nothing behind in its folder."""
    before = sorted(folder.iterdir())
    done = run()
    assert done.status == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert not RAW.search(done.error), done.error
    assert sorted(folder.iterdir()) == before
    return done.error


class Conversions:
    """`edgemm convert` in forked processes, which need not import TensorFlow anew: for what is not about processes."""

    def __init__(self, forked: Forked) -> None:
        self._forked = forked

    def run(self, *arguments: object, folder: Path, **env: str) -> Run:
        """Run it to its end; it makes nothing to monitor the model with unless that is asked for."""
        quick = () if "--monitor" in arguments or "--eval" not in arguments else ("--monitor", "off")
        done = self._forked.run("edgemm", "convert", *arguments, *quick, folder=folder, env=environment(**env))
        return Run(done.returncode, done.stdout, done.stderr)

    def refused(self, *arguments: object, folder: Path, status: int = 2) -> str:
        """Return the last line of one that must fail and leave nothing behind."""
        return refused(lambda: self.run(*arguments, folder=folder), folder=folder, status=status)


@pytest.fixture(scope="session")
def conversions(forked: Forked) -> Conversions:
    return Conversions(forked)


@dataclass(frozen=True)
class Converted:
    """A bundle that `edgemm convert` wrote, and what it said."""

    path: Path
    manifest: Manifest
    summary: dict[str, object]


Convert = Callable[..., Converted]


@pytest.fixture(scope="session")
def converted(models: Path, conversions: Conversions, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert one of `models` with the options given; the same of the same content is converted once in a run."""

    def convert(source: Path | str, *options: object) -> Converted:
        def run(folder: Path) -> None:
            done = conversions.run(models / source, *options, "--json", folder=folder)
            assert done.status == 0, done.stderr
            assert not RAW.search(done.stdout), done.stdout
            (folder / "summary.json").write_text(done.stdout)

        folder = once(tmp_path_factory, named("converted", models / source, *options), run)
        summary = json.loads((folder / "summary.json").read_text())
        with open_bundle(folder / summary["path"]) as bundle:
            return Converted(folder / summary["path"], bundle.manifest, summary)

    return convert
