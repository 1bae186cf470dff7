"""The options of `edgemm run` for access to its server: TLS, an API key, a Unix socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgemm import plain_text
from edgemm.errors import InputError
from edgemm_runtime.certificates.server_tls import ServerTls
from edgemm_runtime.service.credentials import newest
from edgemm_runtime.serving.access import Access

API_KEY = "EDGEMM_API_KEY"
"""The environment's name for the key."""
_SHORTEST_KEY = 16
_MAX_KEY_FILE_BYTES = 4096
_FILE = click.Path(path_type=Path, dir_okay=False)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; `read_access` reads what they give."""
    for option in (
        click.option("--unix-socket", type=_FILE, help="Serve at this path as well, for programs of this machine."),
        click.option("--api-key-file", type=_FILE, help="Clients must show the key that this file holds."),
        click.option("--tls-key", type=_FILE, help="The certificate's private key."),
        click.option("--tls-cert", type=_FILE, help="Serve HTTPS with this certificate (PEM, chain included)."),
    ):
        command = option(command)
    return command


def read_access(
    *, tls_cert: Path | None, tls_key: Path | None, api_key_file: Path | None, unix_socket: Path | None
) -> Access:
    """Return what the options say; the key may also be in `EDGEMM_API_KEY`.

    Raises:
        InputError: a file cannot be read or is of another kind, or the key is too short.
    """
    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key go together: give both, or neither for plain HTTP")
    tls = ServerTls(newest(tls_cert), newest(tls_key)) if tls_cert is not None and tls_key is not None else None
    return Access(api_key=_api_key(api_key_file), tls=tls, unix_socket=unix_socket)


def _api_key(file: Path | None) -> str | None:
    if file is None:
        key = os.environ.get(API_KEY, "").strip()
        where = API_KEY
        if not key:
            return None
    else:
        where = str(file)
        try:
            with newest(file).open("rb") as opened:
                key = plain_text.read(opened.read(_MAX_KEY_FILE_BYTES), name=where).strip()
        except OSError as err:
            raise InputError(f"cannot read the API key from {file}: {err.strerror or err}: give another file") from err
    if len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise InputError(
            f"{where}: expected an API key of at least {_SHORTEST_KEY} printable ASCII characters: "
            "make one with `openssl rand -hex 16`"
        )
    return key
