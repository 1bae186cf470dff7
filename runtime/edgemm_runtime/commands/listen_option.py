"""The option `--listen` of `edgemm run`: the addresses to serve at."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from edgemm.errors import InputError
from edgemm.transport.address import is_host
from edgemm_runtime.serving.server import LOOPBACK

_HOST_AND_PORT = re.compile(r"[^:]+:[0-9]+|\[.*\]:[0-9]+")


def listen_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option; `read_addresses` reads what it gives."""
    return click.option(
        "--listen",
        multiple=True,
        default=(LOOPBACK,),
        show_default=True,
        metavar="ADDRESS",
        help="0.0.0.0: the whole network; ::: it, and IPv6. Repeatable.",
    )(command)


def read_addresses(given: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses, each once; brackets around one of IPv6 are taken off.

    Raises:
        InputError: there is none, one is empty, or has a port.
    """
    found = []
    for text in given or ("",):
        host = text.strip()
        if not host:
            raise InputError("--listen: expected an address such as 127.0.0.1, found none: for the whole network, ::")
        if _HOST_AND_PORT.fullmatch(host):
            raise InputError(f"--listen: expected an address, found {text!r}: give the port with --port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        found.append(_checked(host, text))
    return tuple(dict.fromkeys(found))


def _checked(host: str, text: str) -> str:
    if not is_host(host, listens=True):
        raise InputError(f"--listen: expected an IPv4 or IPv6 address or a name, found {text!r}")
    return host
