"""The option of `edgemm run` for the management listener: reads its address."""

from __future__ import annotations

import re
from pathlib import Path

from edgemm.errors import InputError
from edgemm.transport.address import is_loopback
from edgemm_runtime.serving.management import LoopbackAddress, ManagementAddress

_HOST_AND_PORT = re.compile(r"(?:\[(?P<six>[^\]/]*)\]|(?P<four>[^:/\[\]]*)):(?P<port>[0-9]{1,5})")
_LARGEST_PORT = 65535


def read_address(text: str) -> ManagementAddress:
    """Return where the management listener is to be: `127.0.0.1:PORT`, `[::1]:PORT`, or the path of a Unix socket.

    Raises:
        InputError: an address that others could reach, or none at all.
    """
    expected = "expected a path for a Unix socket, or 127.0.0.1:PORT"
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None:
        if not text.strip() or text.isdigit():
            raise InputError(f"--manage: {expected}, found {text!r}")
        return Path(text)
    host, port = found["six"] or found["four"], int(found["port"])
    if not is_loopback(host) or port > _LARGEST_PORT:
        raise InputError(f"--manage: {expected}, found {text!r}: models are managed from this machine only")
    return LoopbackAddress(host, port)
