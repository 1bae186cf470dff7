"""The installation of the systemd unit, and its removal; nothing is left half-done.

The files that were there before come back when systemd refuses the unit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgemm import durable
from edgemm.errors import EnvironmentFailure, InputError
from edgemm_runtime.service.unit import NAME, Scope

TOKEN = "EDGEMM_TOKEN"  # noqa: S105 - a name
"""The name under which the unit's file of secrets has the enrolment token."""
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


@dataclass(frozen=True)
class Removal:
    """What an uninstallation removed, and what it left since others wrote it."""

    removed: tuple[Path, ...]
    kept: tuple[Path, ...]


def install(systemd: Systemd, where: Places, *, unit: str, token: str | None) -> None:
    """Write the files, enable the unit and start it; `token` None leaves that of an earlier install.

    What else the file of secrets has, such as an API key, stays; so do drop-ins of the unit.

    Raises:
        InputError: the token is none.
        EnvironmentFailure: a folder is not writable, the unit is masked, or systemd refused; all is as it was.
    """
    if where.unit.is_symlink():
        raise EnvironmentFailure(
            f"{where.unit} is a link to {where.unit.readlink()}: remove it, or systemctl unmask {NAME}"
        )
    files = [(where.unit, unit.encode(), 0o644)]
    before = {path: _content(path) for path in (where.unit, where.secrets)}
    if token is not None:
        files.append((where.secrets, _with_secret(before[where.secrets] or b"", TOKEN, token), 0o600))
    try:
        for path, data, mode in files:
            _make_folder(path)
            durable.write(path, data, mode=mode)
        systemd.call("daemon-reload")
        systemd.call("enable", NAME)
        systemd.call("restart", "--no-block", NAME)
    except EnvironmentFailure:
        _restore(systemd, where, before)
        raise


def uninstall(systemd: Systemd, where: Places) -> Removal:
    """Stop and disable the unit and remove its files. The state folder, other secrets and drop-ins stay.

    Raises:
        EnvironmentFailure: systemd refused, or a file cannot be removed.
    """
    removed, kept = [], []
    if where.unit.exists():
        systemd.call("disable", "--now", NAME)
        removed.append(where.unit)
    secrets = _content(where.secrets)
    if secrets is not None:
        rest = _without_secret(secrets, TOKEN)
        if rest.strip():
            durable.write(where.secrets, rest, mode=0o600)
            kept.append(where.secrets)
        else:
            removed.append(where.secrets)
    try:
        for path in removed:
            path.unlink()
    except OSError as err:
        raise EnvironmentFailure(f"cannot remove {err.filename}: {err.strerror}: run it as the user who may") from err
    if removed:
        systemd.call("daemon-reload")
        with suppress(EnvironmentFailure):  # it says so where nothing had failed
            systemd.call("reset-failed", NAME)
    drop_ins = where.unit.with_name(f"{NAME}.d")
    return Removal(tuple(removed), (*kept, *([drop_ins] if drop_ins.is_dir() else [])))


def has_secret(where: Places, name: str) -> bool:
    """Whether the file that the unit reads its environment from sets a variable."""
    return any(_sets(line, name) for line in (_content(where.secrets) or b"").splitlines())


def asks_for_key(where: Places) -> bool:
    """Whether the unit that is installed gives an option for an API key."""
    return b"--api-key-file" in (_content(where.unit) or b"")


def _with_secret(content: bytes, name: str, value: str) -> bytes:
    if not value.isascii() or not value.isprintable() or set(value) & set(" \"'\\$"):
        raise InputError("--token: expected one word, such as emt1_…: copy it whole")
    return b"\n".join((*_without_secret(content, name).splitlines(), f"{name}={value}".encode(), b""))


def _without_secret(content: bytes, name: str) -> bytes:
    return b"".join(line for line in content.splitlines(keepends=True) if not _sets(line, name))


def _sets(line: bytes, name: str) -> bool:
    return line.lstrip().startswith(f"{name}=".encode())


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


def _restore(systemd: Systemd, where: Places, before: Mapping[Path, bytes | None]) -> None:
    if before[where.unit] is None:
        with suppress(EnvironmentFailure):
            systemd.call("disable", NAME)
    # What cannot be put back must not hide why: the first error is raised by the caller.
    for path, content in before.items():
        with suppress(EnvironmentFailure, OSError):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                durable.write(path, content, mode=path.stat().st_mode & 0o777)
    with suppress(EnvironmentFailure):
        systemd.call("daemon-reload")
