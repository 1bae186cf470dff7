"""The configuration files of Mosquitto: passwords, ACL and main file in one folder, reloaded by a signal.

    mosquitto -c FOLDER/mosquitto.conf

The files are written whole and renamed into place, so that Mosquitto never reads half of one. Mosquitto has to be
able to read the folder: it runs as the manager's user. Each password file has a login of its own that nobody else
knows: once the broker lets that in, it has read this file.

With mqtts:// its certificate and key are in one file, `tls.pem`, which is replaced at once and read again like the
others: there never is one without the other.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgemm import durable
from edgemm.errors import EnvironmentFailure
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_settings import BrokerSettings, Login, MosquittoFolder
from edgemm_fleet.broker.gathered_write import GatheredWrite, Told
from edgemm_fleet.broker.login_probe import ProbeAnswer, probe_login
from edgemm_fleet.broker.mosquitto_configuration import TLS, acl, configuration
from edgemm_fleet.broker.passwords import hash_password
from edgemm_fleet.broker.tls_pair import read_pair

_log = logging.getLogger(__name__)
_MODE = 0o640
_SECRET_MODE = 0o600
_RELOAD_TIMEOUT_S = 10
_PROBE = "@probe"
"""The user name of the login by which a password file is known; no device id can be like it."""
_PROBE_TIMEOUT_S = 2.0
_PROBE_PAUSE_S = 0.01
_NAMES = ("passwords", "acl", "mosquitto.conf", TLS)
_READ = {ProbeAnswer.LET_IN, ProbeAnswer.ABSENT}


@dataclass(frozen=True)
class MosquittoFiles:
    """The generated files of one fleet; Mosquitto listens where the manager reaches it."""

    broker: BrokerSettings
    fleet: str

    @property
    def place(self) -> MosquittoFolder:
        """Where the files are."""
        assert self.broker.mosquitto is not None, "the mosquitto provider needs its folder"
        return self.broker.mosquitto

    def write(self, devices: Sequence[tuple[str, str]]) -> Login | None:
        """Write all files for (device, password hash) pairs; return the login by which a broker knows them.

        None: none runs that could be told, and it reads them when it starts.

        Raises:
            EnvironmentFailure: the folder cannot be written, or there is no certificate to begin with.
        """
        assert self.broker.login is not None, "Mosquitto's files name the manager's login"
        username, password = self.broker.login
        folder, own = self.place.folder, [(username, password)]
        probe = (_PROBE, secrets.token_urlsafe(24)) if self._is_told() else None
        if probe is not None:
            own.append(probe)
        logins = [*((name, hash_password(text)) for name, text in own), *devices]
        passwords = "".join(f"{name}:{hashed}\n" for name, hashed in logins)
        with suppress(OSError):  # what is wrong with the folder, the next line says
            folder.mkdir(parents=True, exist_ok=True)
        self._write_certificate()
        durable.write(folder / "passwords", passwords.encode(), mode=_MODE)
        durable.write(folder / "acl", acl(self.fleet, manager=username).encode(), mode=_MODE)
        durable.write(folder / "mosquitto.conf", configuration(self.broker, devices=len(devices)).encode(), mode=_MODE)
        return probe

    def is_current(self) -> bool:
        """Whether Mosquitto's certificate is the one that it is to show now.

        Raises:
            EnvironmentFailure: that cannot be used.
        """
        files = self.broker.shown_files
        return files is None or _content(self.place.folder / TLS) == read_pair(files)

    def stamps(self) -> tuple[object, ...]:
        """Return what changes when somebody else writes, removes or takes over one of the files."""
        return tuple(map(_stamp, (self.place.folder / name for name in _NAMES)))

    def confirm(self, probe: Login) -> None:
        """Wait until a running Mosquitto has read the files that `write` returned this login for.

        Raises:
            EnvironmentFailure: it listens, and goes by other files.
        """
        access = replace(self.broker, login=probe).manager_access()
        deadline_s = time.monotonic() + _RELOAD_TIMEOUT_S
        while (answer := probe_login(access, timeout_s=_PROBE_TIMEOUT_S)) not in _READ:
            if answer is ProbeAnswer.PLAIN:  # for ever: no reload changes a listener
                raise EnvironmentFailure(
                    f"Mosquitto at {access.host}:{access.port} answers without TLS, expected mqtts://: restart it with "
                    f"{self.place.folder / 'mosquitto.conf'}, or give its listener certfile and keyfile"
                )
            if time.monotonic() >= deadline_s:
                raise EnvironmentFailure(
                    f"Mosquitto at {access.host}:{access.port} has not read its new files within "
                    f"{_RELOAD_TIMEOUT_S} s ({answer.value}); devices that were enrolled since cannot log in: check "
                    f"that it runs with {self.place.folder / 'mosquitto.conf'}, and the pid file or the reload command"
                )
            time.sleep(_PROBE_PAUSE_S)

    def reload(self) -> None:
        """Make a running Mosquitto read its files again; nothing happens if none is configured or running.

        Raises:
            EnvironmentFailure: the command failed, or the process may not be signalled.
        """
        command, pid_file = self.place.reload_command, self.place.pid_file
        try:
            if command is not None:
                subprocess.run(command, check=True, capture_output=True, timeout=_RELOAD_TIMEOUT_S)
            elif pid_file is not None and pid_file.is_file():
                os.kill(int(pid_file.read_text()), signal.SIGHUP)
        except ProcessLookupError:
            return  # it is not running, and reads the files when it starts
        except (OSError, ValueError, OverflowError, subprocess.SubprocessError) as err:
            raise EnvironmentFailure(
                f"Mosquitto could not be asked to reload: {err}; devices that were enrolled since cannot log in: "
                "check the pid file or the reload command"
            ) from err

    def _write_certificate(self) -> None:
        files, path = self.broker.shown_files, self.place.folder / TLS
        if files is None:
            with suppress(OSError):
                path.unlink(missing_ok=True)  # of a time with TLS: no key lies about that nobody uses
            return
        try:
            pair = read_pair(files)
        except EnvironmentFailure as err:
            if not path.exists():
                raise
            _log.error("certificate not taken up error=%s", err)  # the one of before stays, and logins are written
            return
        if _content(path) != pair or path.stat().st_mode & 0o777 != _SECRET_MODE:
            durable.write(path, pair, mode=_SECRET_MODE)

    def _is_told(self) -> bool:
        """Tell whether there is somebody to reload: a broker listens, and there is a way to tell it."""
        if self.place.reload_command is None and self.place.pid_file is None:
            return False
        access = self.broker.manager_access()
        try:
            socket.create_connection((access.host, access.port), timeout=_PROBE_TIMEOUT_S).close()
        except OSError:
            return False
        return True


class MosquittoCredentials:
    """Each device has its own login in Mosquitto's password file; `logins` reads all of them from the store.

    There is one of it for a folder: whoever changes the store asks it, and it writes for all of them together.
    """

    def __init__(self, files: MosquittoFiles, logins: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self.files, self._logins = files, logins
        self._gathered = GatheredWrite(self._write)
        self._stamps: tuple[object, ...] = ()

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return the device's own user name and password."""
        return self.files.broker.device_access(device, password)

    def refresh(self) -> None:
        """Return once the files have what is in the store now, and a running Mosquitto has read them.

        Mosquitto ends the connections of whoever may no longer log in.

        Raises:
            EnvironmentFailure: either failed.
        """
        self._gathered.ask()

    def admit(self, told: Told) -> None:
        """Have `told` called once a running Mosquitto lets in who is in the store now."""
        self._gathered.tell(told)

    shut_out = admit

    def renew_certificate(self) -> None:
        """Have Mosquitto show the certificate of now to whoever connects from now on; no connection ends.

        Raises:
            EnvironmentFailure: it cannot be used, so the one before stays in use; or as `refresh`.
        """
        if not self.files.is_current():
            self.refresh()

    @property
    def intact(self) -> bool:
        """Whether the files are as they were written last."""
        return self.files.stamps() == self._stamps

    def _write(self) -> None:
        probe = self.files.write(self._logins())
        self._stamps = self.files.stamps()
        self.files.reload()
        if probe is not None:
            self.files.confirm(probe)


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None where there is none, or another user's: that one is replaced."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_uid, found.st_gid, found.st_mode
