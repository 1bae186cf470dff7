"""The options of `edgemm fleet serve` on its broker, read into one value."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgemm import plain_text
from edgemm.configuration.shown import hide_login
from edgemm.errors import InputError
from edgemm.transport.address import BROKER, split_address
from edgemm.trust.tls import pinned_context
from edgemm_fleet.broker.broker_settings import BrokerSettings, Login, MosquittoFolder, Provider, TlsFiles

_MAX_LOGIN_BYTES = 64 * 1024
_LARGEST_PORT = 65_535
_ANY_BROKER = replace(BROKER, expected="embedded, or mqtt(s)://[USER:PASSWORD@]HOST[:PORT]")


def read_mosquitto(
    folder: Path | None,
    *,
    pid_file: Path | None = None,
    reload_command: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> MosquittoFolder | None:
    """Return what the options say of Mosquitto's files.

    Raises:
        InputError: options that go with `--mosquitto` were given without it, or a certificate without its key.
    """
    if folder is None:
        if any(one is not None for one in (pid_file, reload_command, certificate, key)):
            raise InputError(
                "--mosquitto-pid, --mosquitto-reload, --mosquitto-certificate and --mosquitto-key go with --mosquitto "
                "FOLDER"
            )
        return None
    if (certificate is None) != (key is None):
        raise InputError("--mosquitto-certificate and --mosquitto-key go together: give both, or neither")
    # Mosquitto reads these paths wherever it was started.
    return MosquittoFolder(
        folder.absolute(),
        pid_file=pid_file.absolute() if pid_file else None,
        reload_command=tuple(shlex.split(reload_command)) if reload_command else None,
        files=TlsFiles(certificate.absolute(), key.absolute()) if certificate is not None and key is not None else None,
    )


def read_broker(
    text: str,
    *,
    login: Login | None = None,
    device_login: Login | None,
    mosquitto: MosquittoFolder | None,
    ca: Path | None,
) -> BrokerSettings:
    """Return the broker that the options name; `login` is the manager's there, where it is not in the URL.

    Raises:
        InputError: the options do not go together, or can never work.
    """
    if (match := re.fullmatch(r"embedded(?::([0-9]{1,5}))?", text)) and int(match[1] or 0) <= _LARGEST_PORT:
        if login or device_login or mosquitto or ca:
            raise InputError(
                "--broker-login-file, --device-login, --mosquitto and --broker-ca are for another broker: name it with "
                "--broker"
            )
        return BrokerSettings(port=int(match[1]) if match[1] else None)
    parts = split_address(hide_login(text), _ANY_BROKER, what="--broker")
    host, given = parts.hostname or "", urlsplit(text)
    if given.username:
        if login is not None:
            raise InputError(f"--broker {parts.scheme}://{host}: its login is in --broker-login-file too: give one")
        login = unquote(given.username), unquote(given.password or "")
    if login is None and mosquitto is None:
        raise InputError(
            f"--broker {parts.scheme}://{host}: expected a login, by --broker-login-file or as "
            f"{parts.scheme}://USER:PASSWORD@{host}, or --mosquitto FOLDER"
        )
    if mosquitto is not None and mosquitto.files is not None and parts.scheme != "mqtts":
        raise InputError(
            f"--mosquitto-certificate is for TLS: expected --broker mqtts://{host}, found {parts.scheme}://"
        )
    shared = device_login
    if (shared is None) == (mosquitto is None) or (shared is not None and login is not None and shared[0] == login[0]):
        # The manager's own login may speak for the fleet to every device: no device is to hold it.
        raise InputError(
            f"--broker {parts.scheme}://{host}: expected either --device-login USER:PASSWORD, a login at that broker "
            "other than the manager's which all devices share, or --mosquitto FOLDER, which gives each device its own"
        )
    return BrokerSettings(
        provider=Provider.STATIC if mosquitto is None else Provider.MOSQUITTO,
        host=host,
        port=parts.port,
        tls=parts.scheme == "mqtts",
        ca=None if ca is None else _certificate(ca),
        login=login,
        device_login=shared,
        mosquitto=mosquitto,
    )


def _certificate(path: Path) -> str:
    try:
        text = path.read_text("ascii")
        pinned_context(text)
    except (OSError, ValueError) as err:  # an SSLError is an OSError
        raise InputError(f"--broker-ca {path}: expected a certificate in PEM: {err}") from err
    return text


def read_login(text: str | None, file: Path | None, *, option: str) -> Login | None:
    """Return a login that was given as USER:PASSWORD, or in a file that holds that; None: neither.

    Raises:
        InputError: both are given, the file cannot be read, or it is no login.
    """
    if file is None:
        return None if text is None else _login(text, option)
    if text is not None:
        raise InputError(f"{option} and {option}-file give the same: give one")
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_LOGIN_BYTES)
    except OSError as err:
        raise InputError(f"{option}-file {file}: cannot be read: {err.strerror or err}") from err
    return _login(plain_text.read(data, name=str(file)).strip(), f"{option}-file {file}")


def _login(text: str, what: str) -> Login:
    user, mark, password = text.partition(":")
    if not mark or not user:
        raise InputError(f"{what}: expected USER:PASSWORD")
    return user, password
