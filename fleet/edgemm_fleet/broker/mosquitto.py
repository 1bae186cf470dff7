"""The configuration files of Mosquitto: passwords, ACL and main file in one folder, reloaded by a signal.

    mosquitto -c FOLDER/mosquitto.conf

The files are written whole and renamed into place, so that Mosquitto never reads half of one. Mosquitto has to be
able to read the folder: it runs as the manager's user.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edgemm import durable, topics
from edgemm.errors import EnvironmentFailure
from edgemm.messages import MAX_CONTROL_BYTES
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder
from edgemm_fleet.broker.passwords import hash_password

_MODE = 0o640
_RELOAD_TIMEOUT_S = 10


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

    def write(self, devices: Sequence[tuple[str, str]]) -> None:
        """Write all three files for (device, password hash) pairs.

        Raises:
            EnvironmentFailure: the folder cannot be written.
        """
        assert self.broker.login is not None, "Mosquitto's files name the manager's login"
        username, password = self.broker.login
        folder, logins = self.place.folder, [(username, hash_password(password)), *devices]
        passwords = "".join(f"{username}:{hashed}\n" for username, hashed in logins)
        with suppress(OSError):  # what is wrong with the folder, the next line says
            folder.mkdir(parents=True, exist_ok=True)
        durable.write(folder / "passwords", passwords.encode(), mode=_MODE)
        durable.write(folder / "acl", acl(self.fleet, manager=username).encode(), mode=_MODE)
        durable.write(folder / "mosquitto.conf", self._configuration().encode(), mode=_MODE)

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
        except (OSError, ValueError, subprocess.SubprocessError) as err:
            raise EnvironmentFailure(
                f"Mosquitto could not be asked to reload: {err}; devices that were enrolled since cannot log in: "
                "check the pid file or the reload command"
            ) from err

    def _configuration(self) -> str:
        place = self.place
        lines = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"password_file {place.folder / 'passwords'}",
            f"acl_file {place.folder / 'acl'}",
            # A device that queues or holds back messages keeps its own spool; the defaults of 20 and 1,000 lose
            # some of a manager's burst to itself.
            "max_inflight_messages 1000",
            "max_queued_messages 100000",
            # No message of this fleet is larger; without it Mosquitto would take 256 MB from whoever has logged in.
            f"message_size_limit {MAX_CONTROL_BYTES}",
            "persistence false",
            # Started by root, it becomes this user, who can read the files; otherwise the line has no effect.
            f"user {pwd.getpwuid(os.geteuid()).pw_name}",
            f"listener {self.broker.number} {self.broker.host}",
            # Nobody takes over another's connection by claiming its client id.
            "use_username_as_clientid true",
        ]
        if place.pid_file is not None:
            lines.append(f"pid_file {place.pid_file}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class MosquittoCredentials:
    """Each device has its own login in Mosquitto's password file; `logins` reads all of them from the store."""

    files: MosquittoFiles
    logins: Callable[[], Sequence[tuple[str, str]]]

    def access(self, device: str, password: str) -> BrokerAccess:
        """Return the device's own user name and password."""
        return self.files.broker.device_access(device, password)

    def refresh(self) -> None:
        """Write the files anew and make Mosquitto read them.

        Raises:
            EnvironmentFailure: either failed.
        """
        self.files.write(self.logins())
        self.files.reload()


def acl(fleet: str, *, manager: str) -> str:
    """Return the ACL file of a fleet: a device writes and reads under its own user name only."""
    base = f"{topics.ROOT}/{fleet}"
    lines = [f"user {manager}", f"topic readwrite {base}/#", ""]
    for access, channels in (("write", topics.FROM_DEVICE), ("read", topics.FROM_FLEET)):
        lines += [f"pattern {access} {base}/+/%u/{channel}" for channel in sorted(channels)]
    return "\n".join(lines) + "\n"
