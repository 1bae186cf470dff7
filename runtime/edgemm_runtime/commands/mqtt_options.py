"""The options of `edgemm run` for predictions over the owner's MQTT broker."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from edgemm import plain_text
from edgemm.errors import InputError
from edgemm_runtime.mqtt.owner_broker import DEFAULT_PREFIX, OwnerBroker, check_prefix, split_broker_url

NAMES = ("mqtt", "mqtt_topic", "mqtt_ca", "mqtt_login_file", "mqtt_retain")
_FILE = click.Path(path_type=Path, dir_okay=False)
_SYSTEM_STATE = Path("/var/lib/edgemm")
_LONGEST_LOGIN_BYTES = 4096
_LARGEST_IDENTITY_BYTES = 1024 * 1024


def mqtt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; `read_mqtt` reads what they give."""
    for option in (
        click.option("--mqtt-retain", is_flag=True, help="Let the last answer of each model stay at the broker."),
        click.option(
            "--mqtt-login-file", type=_FILE, help="User, and password in a second line; see also EDGEMM_MQTT_…"
        ),
        click.option("--mqtt-ca", type=_FILE, help="The authority of the broker's certificate (PEM), with mqtts."),
        click.option("--mqtt-topic", metavar="PREFIX", help=f"Topics begin with this; {DEFAULT_PREFIX} by default."),
        click.option("--mqtt", metavar="URL", help="Answer over this broker of yours too: mqtt[s]://HOST[:PORT]."),
    ):
        command = option(command)
    return command


def read_mqtt(
    *,
    mqtt: str | None,
    mqtt_topic: str | None,
    mqtt_ca: Path | None,
    mqtt_login_file: Path | None,
    mqtt_retain: bool,
    environment: Mapping[str, str] = os.environ,
) -> OwnerBroker | None:
    """Return what the options say; None without `--mqtt`.

    User and password may also be in `EDGEMM_MQTT_USER` and `EDGEMM_MQTT_PASSWORD`.

    Raises:
        InputError: a value can never work, or a file cannot be read.
    """
    if mqtt is None:
        others = {"topic": mqtt_topic, "ca": mqtt_ca, "login-file": mqtt_login_file, "retain": mqtt_retain or None}
        if alone := next((name for name, value in others.items() if value is not None), None):
            raise InputError(f"--mqtt-{alone} needs --mqtt")
        return None
    host, port, tls = split_broker_url(mqtt)
    if mqtt_ca is not None and not tls:
        raise InputError("--mqtt-ca needs mqtts://: a broker without TLS shows no certificate")
    user, password = _login(mqtt_login_file, environment)
    return OwnerBroker(
        host=host,
        port=port,
        tls=tls,
        username=user,
        password=password,
        ca=None if mqtt_ca is None else _authority(mqtt_ca),
        prefix=check_prefix(DEFAULT_PREFIX if mqtt_topic is None else mqtt_topic),
        retain=mqtt_retain,
    )


def enrolled_at(folders: Iterable[Path | None]) -> tuple[str, int] | None:
    """Return host and port of the broker that this device is enrolled at, by the first state folder that says so."""
    for folder in (*folders, _SYSTEM_STATE):
        if folder is None:
            continue
        try:
            with (folder / "identity.json").open("rb") as file:
                found = msgspec.json.decode(file.read(_LARGEST_IDENTITY_BYTES), type=_Identity)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return found.broker.host, found.broker.port
    return None


class _Broker(Struct, frozen=True):
    host: str
    port: int


class _Identity(Struct, frozen=True):
    """What of the file of a device's identity says where its fleet's broker is."""

    broker: _Broker


def _login(file: Path | None, environment: Mapping[str, str]) -> tuple[str, str]:
    if file is None:
        user, password = (environment.get(f"EDGEMM_MQTT_{name}", "") for name in ("USER", "PASSWORD"))
        if password and not user:
            raise InputError("EDGEMM_MQTT_PASSWORD needs EDGEMM_MQTT_USER")
        return user, password
    lines = plain_text.read(_read(file, "the login", _LONGEST_LOGIN_BYTES), name=str(file)).splitlines()
    if not 1 <= len(lines) <= 2 or not lines[0].strip():
        raise InputError(f"{file}: expected the user in the first line and the password in the second")
    return lines[0].strip(), lines[1] if len(lines) == 2 else ""


def _authority(file: Path) -> str:
    text = plain_text.read(_read(file, "the certificate", _LARGEST_IDENTITY_BYTES), name=str(file))
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as err:
        raise InputError(f"--mqtt-ca {file}: expected a certificate in PEM: {err}") from err
    return text


def _read(file: Path, what: str, most_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most_bytes + 1)
    except OSError as err:
        raise InputError(f"cannot read {what} from {file}: {err.strerror or err}") from err
    if len(data) > most_bytes:
        raise InputError(f"{file}: expected {what} of at most {most_bytes:,} bytes, found more")
    return data
