"""Answers: what an application or the server itself says, the bytes of their heads, and the files that follow them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path

import msgspec

from edgemm.transport.refusal import ErrorAnswer, ErrorDetail
from edgemm.transport.request_head import Head
from edgemm_fleet.http.open_files import moved_up

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = {204, 304}
_SERVER = "edgemm"
_LATER = "try the same again later"


class FilePart:
    """Bytes of an open file that are to be sent; closed by whoever has it last."""

    def __init__(self, path: Path, *, start: int, size: int) -> None:
        """Open it.

        Raises:
            OSError: it cannot be.
        """
        self._descriptor = moved_up(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._position, self.left = start, size

    def read(self, most: int, *, waiting: bool) -> bytes | None:
        """Return the next bytes, none at the end; None where they are not in memory and nobody is to wait for a disk.

        Raises:
            OSError: they cannot be read.
        """
        count = min(most, self.left)
        data = self._read_now(count) if not waiting else os.pread(self._descriptor, count, self._position)
        if data is None:
            return None
        if count and not data:
            raise OSError("the file was cut short while it was sent")
        self._position += len(data)
        self.left -= len(data)
        return data

    def _read_now(self, count: int) -> bytes | None:
        buffer = bytearray(count)
        try:
            size = os.preadv(self._descriptor, [buffer], self._position, os.RWF_NOWAIT)
        except OSError:  # not in memory, or a file system that cannot tell
            return None
        return bytes(memoryview(buffer)[:size])

    def close(self) -> None:
        """Close the file; once is enough."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


After = Callable[[Callable[["ServedAnswer | None"], None]], None]
"""What an answer waits for: it is given a function to call once, from any thread, with an answer to give instead."""


class ServedAnswer(msgspec.Struct, frozen=True):
    """What is answered; the server adds length and date."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    file: FilePart | None = None
    """What follows in place of `body`."""
    after: After | None = None
    """What is waited for, without a thread, before this is answered."""
    length: int | None = None
    """The bytes of the body where that is not sent, since only its head was asked for."""

    @property
    def content_length(self) -> int:
        """The bytes of the body."""
        if self.length is not None:
            return self.length
        return len(self.body) if self.file is None else self.file.left


def refusal(status: int, message: str, *, retry_after_s: int | None = None, hint: str = _LATER) -> ServedAnswer:
    """Return an error of the server itself, in the form that all errors of the API have."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    body = msgspec.json.encode(ErrorAnswer(error=ErrorDetail(code=code, message=message, hint=hint)))
    headers = [("Content-Type", "application/json")]
    if retry_after_s is not None:
        headers.append(("Retry-After", str(retry_after_s)))
    return ServedAnswer(status, tuple(headers), body)


def encode_head(answer: ServedAnswer, *, asked: Head | None, keep_alive: bool, now_s: float) -> bytes:
    """Return the head of an answer to a request, None where its head was never whole."""
    lines = [f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Unknown')}", f"Server: {_SERVER}"]
    lines.append(f"Date: {formatdate(now_s, usegmt=True)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if answer.status not in _BODILESS:
        lines.append(f"Content-Length: {answer.content_length}")
    if not keep_alive:
        lines.append("Connection: close")
    elif asked is not None and asked.version != "1.1":
        lines.append("Connection: keep-alive")  # RFC 9112, appendix C.2.2
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def has_body(answer: ServedAnswer, asked: Head | None) -> bool:
    """Tell whether a body follows the head of an answer."""
    return answer.status not in _BODILESS and not (asked is not None and asked.method == "HEAD")
