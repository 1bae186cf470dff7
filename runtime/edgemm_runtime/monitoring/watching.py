"""The watches over all models of a process, and the thread in which they count: off the path of every request."""

from __future__ import annotations

import logging
import threading

from edgemm.bundle import BlobSource
from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import EdgemmError
from edgemm.monitoring import MonitorDocument, monitor_document
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.monitoring.watch import ModelWatch, WatchedCounts

_log = logging.getLogger(__name__)
_EVERY_S = 0.25
"""How long requests wait to be counted where each one is looked at."""
_MINUTE_S = 60.0


class Watching:
    """Starts its thread with the first watch; the thread ends with the process, or with `close`."""

    def __init__(self, limits: MonitorLimits | None = None) -> None:
        self._limits = limits or MonitorLimits()
        self._lock = threading.Lock()
        self._watches: dict[ServedKey, ModelWatch] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def beside(self, key: ServedKey, source: MonitorDocument, manifest: Manifest, variant: Variant) -> ModelWatch:
        """Return the watch over a model; one that was active before goes on counting."""
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                watch = self._watches[key] = ModelWatch(key, source, manifest, variant, self._limits)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="edgemm-monitor", daemon=True)
                self._thread.start()
        watch.wanted = True
        return watch

    def watched(self) -> tuple[WatchedCounts, ...]:
        """Return what each watch counted since the process started."""
        with self._lock:
            watches = tuple(self._watches.values())
        return tuple(watch.watched() for watch in watches)

    def settle(self) -> None:
        """Count what waits, and let each model's next request be taken."""
        with self._lock:
            watches = tuple(self._watches.values())
        for watch in watches:
            watch.settle()
            watch.wanted = True

    def close(self, *, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        rate = self._limits.requests_per_minute
        pause_s = _MINUTE_S / rate if rate else _EVERY_S
        while not self._stopping.wait(pause_s):
            self.settle()


def document_of(source: BlobSource) -> MonitorDocument | None:
    """Return the document by which a bundle's model is monitored; None without one, or where it cannot be read."""
    digest = source.manifest.documents.get(monitor_document.NAME)
    if digest is None:
        return None
    try:
        return monitor_document.decode(source.read(digest))
    except (EdgemmError, OSError) as err:
        manifest = source.manifest
        _log.warning("model is not monitored model=%s version=%s error=%s", manifest.name, manifest.version, err)
        return None
