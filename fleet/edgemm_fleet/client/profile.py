"""The user's profile of a fleet: URL, token, pinned certificate and TUF root, in a private file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from edgemm import canonical, durable
from edgemm.errors import EnvironmentFailure, InputError

_FILE = "fleet.json"


class Profile(Struct, frozen=True, kw_only=True):
    """What `edgemm fleet login` keeps.

    `tls_fingerprint` is the SHA-256 of the server's certificate in DER, None where a public authority vouches for it
    or on plain loopback. `root` is the TUF root document as it was at login: a publisher trusts what follows from it.
    """

    v: int = 1
    url: str
    token: str
    tls_fingerprint: str | None
    root: str


def config_folder() -> Path:
    """Return this user's folder for edgemm, by the XDG base directory specification."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "edgemm"


def make_config_folder() -> Path:
    """Return the folder, made if it is missing and closed to other users.

    Raises:
        EnvironmentFailure: it cannot be made.
    """
    folder = config_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as err:
        raise EnvironmentFailure(
            f"{folder}: cannot keep a login here: {err.strerror}; name a folder of yours by XDG_CONFIG_HOME"
        ) from err
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep another command of this user out of a folder while the block lasts; it waits."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_profile(path: Path | None = None) -> Profile:
    """Read the profile at `path`, this user's unless given.

    Raises:
        InputError: nobody logged in here, or the file is damaged.
    """
    path = path or config_folder() / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as err:
        raise InputError("not logged in to a fleet: edgemm fleet login URL") from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise InputError(f"{path}: expected a profile ({err}); log in again: edgemm fleet login URL") from err


def write_profile(profile: Profile) -> Path:
    """Keep a profile and return where."""
    path = make_config_folder() / _FILE
    durable.write(path, canonical.encode(profile) + b"\n", mode=0o600)
    return path
