"""The reach of the system's unit: which files its sandbox hides, or the user that systemd makes for it cannot read.

require_reach(Path("/home/pi/tiny.edgemm"), groups=())   # InputError, with the next step
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edgemm.errors import InputError
from edgemm_runtime.service.unit import PRIVATE_STATE_FOLDER, RUNTIME_FOLDER, STATE_FOLDER

_PLACE = "/opt/edgemm"
HIDDEN: Mapping[Path, str] = {
    Path("/home"): "lies in a home folder, which the system's service cannot see",
    Path("/root"): "lies in a home folder, which the system's service cannot see",
    Path("/run/user"): "lies in a user's runtime folder, which the system's service cannot see",
    Path("/tmp"): "lies in /tmp, of which the system's service has one of its own",  # noqa: S108 - named, not used
    Path("/var/tmp"): "lies in /var/tmp, of which the system's service has one of its own",  # noqa: S108 - likewise
    Path("/dev"): "lies in /dev, of which the system's service has one of its own",
}
"""What `ProtectHome=`, `PrivateTmp=` and `PrivateDevices=` close off, and how that is told."""
_STATE_FOLDERS = (STATE_FOLDER, PRIVATE_STATE_FOLDER)
_SHARED = Path("/dev/shm")  # noqa: S108 - `PrivateDevices=` leaves it
_LONGEST_SOCKET = 107
"""Bytes in `sockaddr_un`, unix(7), less the zero at its end."""


def require_reach(path: Path, *, groups: Collection[int], hidden: Mapping[Path, str] = HIDDEN) -> None:
    """Refuse a file, past its links, that the system's service could not read; `groups` are those that it has.

    Raises:
        InputError: names the file, why, and what to do.
    """
    if in_state_folder(path):
        return  # systemd gives all in it to the service's user
    _refuse_hidden(path, hidden)
    for part in (*reversed(path.parents), path):
        try:
            facts = part.stat()
        except PermissionError as err:
            raise InputError(f"{path}: cannot be looked at: {err.strerror}: run it as root") from err
        except OSError:
            return  # whoever opens it says so
        wanted = "x" if stat.S_ISDIR(facts.st_mode) else "r"
        if not _may(facts, wanted, groups):
            raise InputError(
                f"{path}: the system's service runs as a user of its own, who may not read {part}: "
                f"chmod o+{wanted} {shlex.quote(str(part))}"
            )


def in_state_folder(path: Path) -> bool:
    """Whether a path lies in the folder that systemd makes for the system's service."""
    return any(path.is_relative_to(folder) for folder in _STATE_FOLDERS)


def require_program(program: Path, *, groups: Collection[int], hidden: Mapping[Path, str] = HIDDEN) -> None:
    """Refuse a program that links to where the system's service cannot see, such as a venv's Python.

    Raises:
        InputError: as `require_reach`.
    """
    for hop in _hops(program):
        _refuse_hidden(hop, hidden)
    require_reach(program.resolve(), groups=groups, hidden=hidden)


def require_writable(path: Path, *, option: str) -> None:
    """Refuse a socket where the system's service may not make one.

    Raises:
        InputError: names a path that it may.
    """
    own = Path(RUNTIME_FOLDER, path.name)
    if not (path.is_relative_to(RUNTIME_FOLDER) or in_state_folder(path)):
        raise InputError(f"{option} {path}: the system's service may not write there: give {option} {own}")
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise InputError(f"{option} {path}: expected a path of at most {_LONGEST_SOCKET} bytes: give a shorter name")


def _refuse_hidden(path: Path, hidden: Mapping[Path, str]) -> None:
    for folder, why in hidden.items():
        inside = path.is_relative_to(folder) or path.is_relative_to(folder.resolve())
        shared = path.is_relative_to(_SHARED) and _SHARED.is_relative_to(folder)
        if inside and not shared:
            raise InputError(f"{path} {why}: install edgemm and put all files under {_PLACE}, or use --user")


def _hops(path: Path) -> Iterator[Path]:
    """Yield a path and each that its links lead to; a ring of links ends at the system's own limit."""
    for _ in range(40):
        path = path.parent.resolve() / path.name
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _may(facts: os.stat_result, wanted: str, groups: Collection[int]) -> bool:
    for_others, for_group = {"r": (stat.S_IROTH, stat.S_IRGRP), "x": (stat.S_IXOTH, stat.S_IXGRP)}[wanted]
    return bool(facts.st_mode & (for_group if facts.st_gid in groups else for_others))
