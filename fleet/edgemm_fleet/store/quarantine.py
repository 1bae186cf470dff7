"""The quarantine: what of the database cannot be read, by device and part. It costs its device, and nobody else.

    unreadable = quarantine(tx)
    read = unreadable.reader("desired", _read, device=lambda row: row.device)
    found = [one for row in tx.execute(query) if (one := read(row)) is not None]

An older edgemm, a defect or a damaged disk may leave a row that the reader's own schema refuses. Whoever meets it
passes it over and notes it here, where people see it: by name in lists, in `/metrics` and, once an hour, in the log.
The row stays as it is until something new is written in its place. The notes are in memory alone: what cannot be read
is met again after a start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

_log = logging.getLogger(__name__)
_OPTION = "edgemm_quarantine"
_MOST, _MOST_PARTS = 1000, 100
"""Devices that are named, and parts of each; a database that is damaged all over needs no longer list."""
_MOST_CHARACTERS = 300
_SAID_EVERY_S = 3600.0
UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What reading a damaged row may raise."""
Value = TypeVar("Value")


class Quarantine:
    """Notes of rows that cannot be read; safe to use from several threads."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._notes: dict[str, dict[str, str]] = {}
        self._said: dict[tuple[str, str], float] = {}

    def options(self) -> Mapping[str, Any]:
        """Return the execution options by which `quarantine` finds this one."""
        return {_OPTION: self}

    def note(self, device: str, part: str, cause: object) -> None:
        """Note that a part of what is known of a device cannot be read, or could not be written so that it can."""
        key, text = (str(device), part), str(cause)[:_MOST_CHARACTERS]
        with self._lock:
            notes = self._notes.setdefault(key[0], {}) if len(self._notes) < _MOST else self._notes.get(key[0])
            if notes is None or (len(notes) >= _MOST_PARTS and part not in notes):
                return
            notes[part] = text
            now = self._monotonic()
            if now - self._said.get(key, now - _SAID_EVERY_S) < _SAID_EVERY_S:
                return
            if len(self._said) >= _MOST * _MOST_PARTS:
                self._said.clear()
            self._said[key] = now
        _log.error("row_unreadable device=%r part=%r error=%r; it is passed over", *key, text)

    def clear(self, device: str, part: str) -> None:
        """Forget a note: the part was read, or written anew."""
        if device not in self._notes:
            return
        with self._lock:
            notes = self._notes.get(device, {})
            notes.pop(part, None)
            if not notes:
                self._notes.pop(device, None)

    def of(self, device: str) -> dict[str, str]:
        """Return part → why it cannot be read, of one device."""
        if device not in self._notes:
            return {}
        with self._lock:
            return dict(sorted(self._notes.get(device, {}).items()))

    def parts(self) -> list[tuple[str, str]]:
        """Return every (device, part) that cannot be read."""
        with self._lock:
            return sorted((device, part) for device, notes in self._notes.items() for part in notes)

    def reader(
        self, part: str, read: Callable[[Any], Value], *, device: Callable[[Any], str], lasting: bool = False
    ) -> Callable[[Any], Value | None]:
        """Return `read` with None, and a note, for what it cannot read.

        `lasting`: the part is many rows, and one that can be read says nothing of the others.
        """

        def guarded(row: Any) -> Value | None:
            try:
                value = read(row)
            except UNREADABLE as err:
                self.note(device(row), part, err)
                return None
            if not lasting:
                self.clear(device(row), part)
            return value

        return guarded


def quarantine(tx: Connection) -> Quarantine:
    """Return the quarantine of the database that a transaction is of."""
    found = tx.get_execution_options().get(_OPTION)
    return found if isinstance(found, Quarantine) else Quarantine()
