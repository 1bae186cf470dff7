"""The installation of the systemd unit, and its removal; nothing is left half-done.

The files that were there before come back when systemd refuses the unit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgemm import durable
from edgemm.errors import EnvironmentFailure
from edgemm_runtime.service.unit import NAME, Scope

_TIMEOUT_S = 120
_ASKED = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "MainPID", "StatusText",
    "ActiveEnterTimestamp",
)  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where one scope's files lie."""

    unit: Path
    secrets: Path


def places(scope: Scope, environment: Mapping[str, str] = os.environ) -> Places:
    """Return where the files of a scope lie."""
    if scope is Scope.SYSTEM:
        return Places(Path("/etc/systemd/system") / NAME, Path("/etc/edgemm.env"))
    base = Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return Places(base / "systemd" / "user" / NAME, base / "edgemm" / "service.env")


class Systemd:
    """One scope's service manager.

    Raises:
        EnvironmentFailure: systemd does not run this machine.
    """

    def __init__(self, scope: Scope, *, booted: Path = Path("/run/systemd/system")) -> None:
        # sd_booted(3) asks for this folder too.
        program = shutil.which("systemctl")
        if program is None or not booted.is_dir():
            raise EnvironmentFailure(
                "systemd does not run this machine, so there is no service to speak of: `edgemm service show` prints "
                "the unit; start `edgemm run` by what this machine starts its services with, or in a container"
            )
        self._command = [program, "--user"] if scope is Scope.USER else [program]

    def call(self, *arguments: str) -> str:
        """Run systemctl and return what it says.

        Raises:
            EnvironmentFailure: it refused, or did not end.
        """
        command = [*self._command, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as err:
            raise EnvironmentFailure(f"{' '.join(command)}: {err}") from err
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[:500] or f"exit status {done.returncode}"
            raise EnvironmentFailure(f"{' '.join(command)}: {said}")
        return done.stdout

    def state(self) -> dict[str, str]:
        """Return what systemd says of the unit, by property."""
        shown = self.call("show", NAME, *(f"--property={name}" for name in _ASKED))
        return {name: value for name, _, value in (line.partition("=") for line in shown.splitlines())}


def install(systemd: Systemd, where: Places, *, unit: str, secrets: str | None) -> None:
    """Write the files, enable the unit and start it; `secrets` None leaves the file of an earlier install.

    Raises:
        EnvironmentFailure: a folder is not writable or systemd refused; the files are as they were.
    """
    files = [(where.unit, unit, 0o644)] + ([(where.secrets, secrets, 0o600)] if secrets is not None else [])
    before = {path: _content(path) for path, _, _ in files}
    try:
        for path, text, mode in files:
            _make_folder(path)
            durable.write(path, text.encode(), mode=mode)
        systemd.call("daemon-reload")
        systemd.call("enable", NAME)
        systemd.call("restart", "--no-block", NAME)
    except EnvironmentFailure:
        _restore(systemd, before)
        raise


def uninstall(systemd: Systemd, where: Places) -> list[Path]:
    """Stop and disable the unit and remove its files; returns what was removed. The state folder stays.

    Raises:
        EnvironmentFailure: systemd refused, or a file cannot be removed.
    """
    found = [path for path in (where.unit, where.secrets) if path.exists()]
    if where.unit in found:
        systemd.call("disable", "--now", NAME)
    try:
        for path in found:
            path.unlink()
    except OSError as err:
        raise EnvironmentFailure(f"cannot remove {err.filename}: {err.strerror}: run it as the user who may") from err
    systemd.call("daemon-reload")
    return found


def secrets_text(token: str) -> str:
    """Return the file that the unit reads the enrolment token from."""
    return f"EDGEMM_TOKEN={token}\n"


def out_of_reach(paths: Iterable[Path], homes: Sequence[Path] = (Path("/home"), Path("/root"))) -> Path | None:
    """Return the first path that the system's unit could not see, since it is closed off from home folders."""
    return next((path for path in paths if any(path.is_relative_to(home) for home in homes)), None)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise EnvironmentFailure(f"cannot read {path}: {err.strerror}: run it as the user who may") from err


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise EnvironmentFailure(f"cannot make {path.parent}: {err.strerror}: run it as the user who may") from err


def _restore(systemd: Systemd, before: Mapping[Path, bytes | None]) -> None:
    # What cannot be put back must not hide why: the first error is raised by the caller.
    for path, content in before.items():
        with suppress(EnvironmentFailure, OSError):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                durable.write(path, content, mode=path.stat().st_mode & 0o777)
    with suppress(EnvironmentFailure):
        systemd.call("daemon-reload")
