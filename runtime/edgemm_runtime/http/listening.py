"""Listening sockets: an address and port, or a path of this machine's file system."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgemm.errors import EnvironmentFailure

_BACKLOG = 1024
_ATTEMPTS = 16
ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - compared with what an owner asks for


class TcpOptions(NamedTuple):
    """The options of the command line that say where to listen."""

    host: str
    port: str


PUBLIC = TcpOptions("--listen", "--port")


def listen_all(hosts: Sequence[str], port: int, *, options: TcpOptions = PUBLIC) -> list[socket.socket]:
    """Listen at one port of several addresses; port 0 takes one that is free at all of them.

    Raises:
        EnvironmentFailure: as `listen_tcp`, of any of them; then none is open.
    """
    hosts, dual = _without_covered(hosts), ANY_IPV4 not in hosts
    for left in reversed(range(_ATTEMPTS if port == 0 and len(hosts) > 1 else 1)):
        listeners: list[socket.socket] = []
        try:
            for host in hosts:
                taken = int(listeners[0].getsockname()[1]) if listeners else port
                listeners.append(listen_tcp(host, taken, options=options, dual=dual))
        except EnvironmentFailure:
            for listener in listeners:
                listener.close()
            if not (left and listeners):
                raise
        else:
            return listeners
    raise AssertionError("unreachable: the last attempt returns or raises")


def _without_covered(hosts: Sequence[str]) -> list[str]:
    """Return addresses of which none is part of another: there, the port would be taken twice."""
    any_four, any_six = ANY_IPV4 in hosts, ANY_IPV6 in hosts
    dual = any_six and not any_four and socket.has_dualstack_ipv6()
    found = []
    for host in dict.fromkeys(hosts):
        covered = any_six if ":" in host else any_four or dual
        if host in {ANY_IPV4, ANY_IPV6} or not covered:
            found.append(host)
    return found


def listen_tcp(host: str, port: int, *, options: TcpOptions = PUBLIC, dual: bool = True) -> socket.socket:
    """Listen at an address; port 0 takes a free one, and `options` are what errors name.

    `::` hears IPv4 too, unless it is not to be `dual` or the kernel cannot.

    Raises:
        EnvironmentFailure: it is taken, needs root, or is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = dual and host == ANY_IPV6 and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except (OSError, UnicodeError) as err:
        raise EnvironmentFailure(_reason(err, host, port, options)) from err
    listener.settimeout(0)
    return listener


def listen_unix(path: Path, *, option: str = "--unix-socket") -> socket.socket:
    """Listen at a path, which this user and group may write to; the socket of a process that is gone is replaced.

    Raises:
        EnvironmentFailure: another process listens there, something else lies there, or it cannot be made.
    """
    _clear(path, option)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o117)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as err:
        listener.close()
        raise EnvironmentFailure(f"cannot listen at {path}: {err.strerror or err}: choose another {option}") from err
    listener.settimeout(0)
    return listener


def _clear(path: Path, option: str) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise EnvironmentFailure(f"{path} is not a socket: choose another {option}, or remove it")
    except FileNotFoundError:
        return
    except OSError as err:
        raise EnvironmentFailure(f"cannot listen at {path}: {err.strerror}: choose another {option}") from err
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise EnvironmentFailure(f"another program listens at {path}: stop it, or choose another {option}")


def _reason(err: Exception, host: str, port: int, options: TcpOptions) -> str:
    number = err.errno if isinstance(err, OSError) else None
    if number == errno.EADDRINUSE:
        another = f"stop it, or choose another with {options.port} (0: any)"
        return f"port {port} on {host} is taken by another program: {another}"
    if number == errno.EACCES:
        return f"port {port} on {host} needs root: choose one above 1023 with {options.port}"
    said = str((err.strerror if isinstance(err, OSError) else None) or err).partition(" (while attempting")[0]
    return f"cannot listen on {host} port {port}: {said}: give an address of this machine to {options.host}"
