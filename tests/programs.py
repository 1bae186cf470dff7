"""Programs of this checkout in processes of their own: forked ones have TensorFlow already, others start afresh."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

from simulators.forked_programs import ProgramServer

ROOT = Path(__file__).parent.parent


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, in which `simulators` and `benchmarks` can be imported from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))), **more}


class Forked:
    """Runs programs of this checkout off a server; what they say is in two files of a folder."""

    def __init__(self, server: ProgramServer, folder: Path) -> None:
        self._server, self._out, self._err = server, folder / "out", folder / "err"

    def run(
        self, module: str, *arguments: object, folder: Path, env: Mapping[str, str] | None = None
    ) -> CompletedProcess[str]:
        """Run `python -m MODULE ARGUMENTS` in a folder to its end."""
        status = self._server.run(
            module, arguments, folder=folder, env=environment() if env is None else env, out=self._out, err=self._err
        )
        return CompletedProcess([module, *map(str, arguments)], status, self._out.read_text(), self._err.read_text())

    def simulator(self, name: str, *arguments: object) -> str:
        """Run one of `simulators`, which has to end well, and return what it printed."""
        done = self.run(f"simulators.{name}", *arguments, folder=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout
