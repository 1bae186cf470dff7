"""The answer of `edgemm run` to SIGHUP: certificate and API key are read again, and no request is dropped.

What cannot be read leaves everything as it was, with a line in the log. A terminal that is gone sends SIGHUP too; then
nobody is there to stop the server, and it ends as by SIGTERM, in order.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgemm.errors import InputError
from edgemm_runtime.certificates.server_certificate import SOON_S
from edgemm_runtime.serving.access import Access

_log = logging.getLogger(__name__)
_TERMINAL = "/dev/tty"
_DAY_S = 86_400


@contextmanager
def renewed_by_sighup(access: Access, read: Callable[[], Access]) -> Iterator[None]:
    """Have `access` take what `read` returns whenever SIGHUP comes while the block runs; for the main thread."""
    tell_of_certificate(access)
    heard, told = os.pipe()
    # A write, and not a lock: a handler may meet a lock that its own thread holds.
    before = signal.signal(signal.SIGHUP, lambda *_: os.write(told, b"."))
    ends_with_terminal = before is not signal.SIG_IGN and _has_terminal()
    threading.Thread(
        target=_renew_when_told, args=(heard, access, read, ends_with_terminal), name="edgemm-renewal", daemon=True
    ).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(told)  # the thread reads the end, and closes its own


def tell_of_certificate(access: Access) -> None:
    """Log a certificate that has ended, or does so soon."""
    if access.tls is not None and access.tls.remaining_s < SOON_S:
        _log.warning(
            "certificate %s at=%s days=%.1f: renew it, then reload",
            "has ended" if access.tls.remaining_s < 0 else "ends soon",
            access.tls.ends.isoformat(),
            access.tls.remaining_s / _DAY_S,
        )


def _renew_when_told(heard: int, access: Access, read: Callable[[], Access], ends_with_terminal: bool) -> None:  # noqa: FBT001 - a thread's argument
    while os.read(heard, 4096):  # several signals are one
        if ends_with_terminal and not _has_terminal():
            _log.info("the terminal is gone: stopping")
            os.kill(os.getpid(), signal.SIGTERM)
            continue
        _renew(access, read)
    os.close(heard)


def _renew(access: Access, read: Callable[[], Access]) -> None:
    try:
        access.renew(read())
    except InputError as err:
        _log.error("not reloaded, all stays as it was: %s", err)
        return
    _log.info("reloaded certificate_ends=%s", access.tls.ends.isoformat() if access.tls else "none")
    tell_of_certificate(access)


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
