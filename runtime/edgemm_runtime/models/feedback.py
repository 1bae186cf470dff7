"""Late labels: `{"id": …, "label": …}` tells whether a prediction was right, hours later and after a restart.

    awaited = feedback.awaited_of(served.key, manifest)
    awaited.remember(request_id, outputs, made=False)
    feedback.label("digits", "7", "cat")

A prediction is remembered by the id of its request and the class of each row. Ids that clients gave and ids that the
device made are kept apart, each in a log of its own (`prediction_log`), so that requests whose answers nobody will
label push nothing out that somebody will. With a folder (`kept_in`) both are written to files, and read at the next
start. Counts are kept apart by model, version, digest and variant, and only rise.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from weakref import ref

from edgemm.bundle.manifest import Manifest
from edgemm.errors import BadRequestError, NotFoundError
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.awaited import Awaited, class_output
from edgemm_runtime.models.late_labels import name_of, says
from edgemm_runtime.models.prediction_files import PredictionFiles
from edgemm_runtime.models.prediction_log import Found, PredictionLog, Segment

_log = logging.getLogger(__name__)
LONGEST_ID = 128
"""A longer id is not remembered."""
MIB = 1024 * 1024


@dataclass(frozen=True)
class FeedbackLimits:
    """What late labels may take."""

    given_bytes: int = 3 * MIB
    """Predictions by ids that clients gave, in memory and again on the disk; beyond it the oldest are dropped."""

    made_bytes: int = MIB
    """The same of ids that the device made."""

    write_bytes_per_day: int = 8 * MIB
    """What may be written of them to the disk in any 24 hours."""

    hold_s: float = 60.0
    """A prediction is written when it has waited for so long; a loss of power costs what is not written."""

    batch_bytes: int = 64 * 1024
    """So much that waits is written however short it waited."""


@dataclass(frozen=True)
class Agreed:
    """What late labels said of one (model, version, digest, variant) since the process started."""

    key: ServedKey
    agreed: int
    disagreed: int


@dataclass(frozen=True)
class Labelled:
    """What a label was compared with, and whether it was that."""

    key: ServedKey
    predicted: str | int
    agreed: bool


class Feedback:
    """Predictions that await their label, and what labels said; safe to use from many threads."""

    def __init__(self, limits: FeedbackLimits | None = None, *, files: PredictionFiles | None = None) -> None:
        self._limits, self._files = limits or FeedbackLimits(), files
        self._given = self._log_of("given", self._limits.given_bytes)
        self._made = self._log_of("made", self._limits.made_bytes)
        self._awaited: list[ref[Awaited]] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._counts: dict[ServedKey, tuple[int, int]] = {}
        self.unmatched = 0
        """Labels that came and for which no prediction waited; not by name, for a client may make up any number."""
        self._stopping, self._much = threading.Event(), threading.Event()
        self._keeper: threading.Thread | None = None
        if files is not None:
            self._keeper = threading.Thread(target=self._keep, name="edgemm-feedback", daemon=True)
            self._keeper.start()

    @classmethod
    def kept_in(cls, folder: Path, limits: FeedbackLimits | None = None) -> Feedback:
        """Return the labels of a state folder, in which `close` leaves what still waits.

        Raises:
            EnvironmentFailure: the folder cannot be made, or another process holds it.
        """
        chosen = limits or FeedbackLimits()
        return cls(chosen, files=PredictionFiles(folder / "feedback", day_bytes=chosen.write_bytes_per_day))

    @property
    def dropped(self) -> int:
        """Predictions that made room for later ones before their label came."""
        return self._given.dropped + self._made.dropped

    @property
    def damaged(self) -> int:
        """Files of an earlier start that were damaged; what follows the damage is dropped."""
        return self._files.damaged if self._files is not None else 0

    def awaited_of(self, key: ServedKey, manifest: Manifest) -> Awaited | None:
        """Return what remembers the predictions of a model that was swapped in; None where it names no classes."""
        classes = class_output(key, manifest)
        if classes is None:
            return None
        awaited = Awaited(classes, self._settle_soon)
        with self._lock:
            self._awaited.append(ref(awaited))
        return awaited

    def label(self, name: str, request_id: str, label: str | int, *, row: int | None = None) -> Labelled:
        """Take the label of a row of a prediction, once; of a prediction of one row, `row` may be left out.

        Raises:
            NotFoundError: no such prediction awaits one.
            BadRequestError: it is none of the model's classes, or no row; the prediction still awaits its label.
        """
        with self._lock:
            self._settle()
            log, found = self._find(name, request_id)
            if found is None:
                self.unmatched += 1
                raise NotFoundError(
                    f"no prediction of {name!r} with id {request_id[:80]!r} awaits a label: none was made with it yet, "
                    "or so many later ones that it was dropped"
                )
            at = _row(row, len(found.indices))
            predicted = found.indices[at]
            agreed = says(label, predicted, found.classes.labels)
            if at in found.labelled:
                self.unmatched += 1
                raise NotFoundError(
                    f"no prediction of {name!r} with id {request_id[:80]!r} awaits a label any more: "
                    "it has one, and a label counts once"
                )
            log.add_label(request_id, found.classes, at)
            right, wrong = self._counts.get(found.classes.key, (0, 0))
            self._counts[found.classes.key] = (right + agreed, wrong + (not agreed))
        self._write(spared=False)
        return Labelled(found.classes.key, name_of(predicted, found.classes.labels), agreed)

    def counts(self) -> tuple[Agreed, ...]:
        """Return what labels said until now."""
        with self._lock:
            return tuple(Agreed(key, *counts) for key, counts in self._counts.items())

    def close(self) -> None:
        """Write what waits; may be called twice."""
        if self._files is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._much.set()
        if self._keeper is not None:
            self._keeper.join(10.0)
        self._write(spared=False)
        self._files.close()

    def _find(self, name: str, request_id: str) -> tuple[PredictionLog, Found | None]:
        for log in (self._given, self._made):
            if (found := log.find(name, request_id)) is not None:
                return log, found
        return self._given, None

    def _settle_soon(self) -> None:
        """Note what is fresh, unless another thread is at it, for which no event loop waits."""
        if self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        """Note what is fresh; the lock is held."""
        for place, awaited in [(place, place()) for place in self._awaited]:
            if awaited is None:
                self._awaited.remove(place)
            else:
                awaited.settle(self._given, self._made)
        if self._files is not None and self._unwritten() >= self._limits.batch_bytes:
            self._much.set()

    def _unwritten(self) -> int:
        return sum(len(s.data) - s.written for log in (self._given, self._made) for s in log.segments)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._much.wait(self._limits.hold_s)
            self._much.clear()
            self._write(spared=True)
            self._stopping.wait(1.0)  # a flood that the budget has no room for is looked at once a second

    def _write(self, *, spared: bool) -> None:
        """Write what waits, in whichever thread; requests are remembered meanwhile."""
        files = self._files
        if files is None:
            return
        with self._writing:
            spare = files.spare() if spared else 0.0
            for kind, log in (("given", self._given), ("made", self._made)):
                with self._lock:
                    self._settle()
                    tails = [
                        (segment, bytes(segment.data[segment.written :]))
                        for segment in reversed(log.segments)
                        if segment.written < len(segment.data)
                    ]
                files.write(kind, log, tails, spare=spare)

    def _log_of(self, kind: str, max_bytes: int) -> PredictionLog:
        segments: list[Segment] = self._files.read(kind) if self._files is not None else []
        return PredictionLog(max_bytes=max_bytes, segments=segments)


def _row(row: int | None, rows: int) -> int:
    if row is None:
        if rows == 1:
            return 0
        raise BadRequestError(f"row: expected which of the {rows:,} rows of the request is meant, from 0, found none")
    if not 0 <= row < rows:
        raise BadRequestError(f"row: expected 0 to {rows - 1:,}, found {row}")
    return row
