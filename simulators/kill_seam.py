"""Where a loss of power can meet a process: every fsync, rename, removal, commit, send and start of a child.

`KillSeam` wraps these calls of the operating system in the process that installs it. Each passage has a name that is
the same in every run, such as `after rename models/tiny.json 3` (the third one): passages are written to a file as
they happen, and at the one that is asked for the process ends by SIGKILL, before or after the call.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.edgemm-tmp-\w+|tmp\w{8}")
_PACKETS = {1: "CONNECT", 3: "PUBLISH", 4: "PUBACK", 8: "SUBSCRIBE", 12: "PINGREQ", 14: "DISCONNECT"}


class KillSeam:
    """Names what passes, notes it in `record`, and ends the process at `kill`; one a process, before any thread.

    `ports` are those of the fleet: what is sent elsewhere, such as answers to requests, is not counted.
    """

    def __init__(self, folder: Path, *, ports: Collection[int], record: Path | None = None, kill: str = "") -> None:
        self._folder, self._ports, self._kill = str(folder.resolve()), frozenset(ports), kill
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._record = None if record is None else os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def install(self) -> None:
        """Wrap the calls."""
        for name in ("fsync", "fdatasync"):
            self._wrap(os, name, lambda args: f"fsync {self._of_descriptor(args[0])}")
        for name in ("replace", "rename"):
            self._wrap(os, name, lambda args: f"rename {self._relative(os.fspath(args[1]))}")
        self._wrap(os, "symlink", lambda args: f"symlink {self._relative(os.fspath(args[1]))}")
        for name in ("unlink", "remove"):
            self._wrap(os, name, self._unlinked)
        for name in ("send", "sendall"):
            self._wrap(socket.socket, name, lambda args: self._sent(args[0], bytes(args[1])))
        self._wrap(subprocess.Popen, "__init__", lambda _: "start of a child")
        self._wrap_database()

    def around(self, what: str | None, call: Callable[[], Any]) -> Any:
        """Make a call with a point before and after it; None: one that does not count."""
        if what is None:
            return call()
        with self._lock:
            self._counts[what] += 1
            number = self._counts[what]
        self._pass(f"before {what} {number}")
        result = call()
        self._pass(f"after {what} {number}")
        return result

    def _pass(self, point: str) -> None:
        if self._record is not None:
            os.write(self._record, f"{point}\n".encode())
        if point == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def _wrap(self, owner: Any, name: str, describe: Callable[[tuple[Any, ...]], str | None]) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return self.around(describe(args), lambda: original(*args, **kwargs))

        setattr(owner, name, wrapped)

    def _wrap_database(self) -> None:
        seam, connect = self, sqlite3.connect

        class Connection(sqlite3.Connection):
            doing = "nothing"

            def execute(self, query: str, values: Any = ()) -> sqlite3.Cursor:
                if query.startswith("INSERT INTO message"):
                    self.doing = f"of {values[2]}"
                elif query.startswith("DELETE"):
                    self.doing = "of what is stored"
                counts = f"commit {self.doing}" if query == "COMMIT" else None
                found: sqlite3.Cursor = seam.around(counts, lambda: super(Connection, self).execute(query, values))
                return found

            def close(self) -> None:
                seam.around("close of the spool", super().close)

        def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            return connect(*args, factory=Connection, **kwargs)

        sqlite3.connect = connected  # type: ignore[assignment]  # of one kind of connection

    def _of_descriptor(self, descriptor: int) -> str:
        return self._relative(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def _unlinked(self, args: tuple[Any, ...]) -> str | None:
        path = os.fspath(args[0])
        return f"removal of {self._relative(path)}" if os.path.lexists(path) else None

    def _relative(self, path: str) -> str:
        inside = os.path.relpath(path, self._folder) if path.startswith(self._folder) else "elsewhere"
        return _TEMPORARY.sub("new", re.sub(r"([0-9a-f]{8})[0-9a-f]{56}", r"\1", inside))

    def _sent(self, sender: socket.socket, data: bytes) -> str | None:
        try:
            port = sender.getpeername()[1]
        except (OSError, IndexError, TypeError):
            return None
        if port not in self._ports:
            return None
        if data[:4] in {b"GET ", b"POST"}:
            path = data.split(b" ", 2)[1].decode()
            return "send " + re.sub(r"([0-9a-f]{8})[0-9a-f]{56}", r"\1", path)
        return f"send {_packet(data)}"


def _packet(data: bytes) -> str:
    """Return what an MQTT packet is: its kind, and the last part of the topic that it is published to."""
    kind = _PACKETS.get(data[0] >> 4, "something")
    if kind != "PUBLISH":
        return kind
    start = 1
    while data[start] & 0x80:  # the length of the rest, seven bits a byte (MQTT 3.1.1, section 2.2.3)
        start += 1
    length = int.from_bytes(data[start + 1 : start + 3], "big")
    return data[start + 3 : start + 3 + length].rsplit(b"/", 1)[-1].decode()
