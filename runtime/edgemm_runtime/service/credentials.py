"""The secrets that systemd hands to the service, `LoadCredential=`, and newer copies of them.

systemd copies a file when the service starts, and the service's user could not read the file itself. So a reload copies
it once more, as root, into the service's runtime folder, which is memory too and ends with the service.

    newest(Path("/run/credentials/edgemm.service/tls-key"))   # /run/edgemm/renewed/tls-key after a reload
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from edgemm.errors import EnvironmentFailure, InputError

MAX_BYTES = 1024 * 1024
"""Largest credential that systemd takes."""
_RENEWED = "renewed"
_COMING = "renewed.coming"


def newest(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the newest content of a file lies: itself, or for a credential its copy of the last reload."""
    folder, runtime = environment.get("CREDENTIALS_DIRECTORY"), environment.get("RUNTIME_DIRECTORY")
    if not folder or not runtime or path.parent != Path(folder):
        return path
    copy = Path(runtime) / _RENEWED / path.name
    return copy if copy.is_file() else path


def pass_on(files: Mapping[str, Path], *, runtime: Path, pid: int) -> None:
    """Copy files into the runtime folder of a service, as its user, and tell its process by SIGHUP.

    Root reads and the service's user writes: whatever that user has put into its folder, root follows no link of it.

    Raises:
        InputError: a file cannot be read, or is too large.
        EnvironmentFailure: the service is gone, or its folder cannot be written.
    """
    contents = {name: _content(path) for name, path in files.items()}
    try:
        owner = Path(f"/proc/{pid}").stat()
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
            os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
        _write(contents, runtime)
        os.kill(pid, signal.SIGHUP)
    except OSError as err:
        raise EnvironmentFailure(f"cannot hand renewed files to process {pid}: {err}: restart the service") from err


def _write(contents: Mapping[str, bytes], runtime: Path) -> None:
    coming = runtime / _COMING
    shutil.rmtree(coming, ignore_errors=True)
    coming.mkdir(mode=0o700)
    for name, data in contents.items():
        with os.fdopen(os.open(coming / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(data)
    shutil.rmtree(runtime / _RENEWED, ignore_errors=True)
    coming.rename(runtime / _RENEWED)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror or err}: give a file that root can read") from err
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: expected at most {MAX_BYTES:,} bytes, found more")
    return data
