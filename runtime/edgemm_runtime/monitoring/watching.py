"""The watches over all models of a process, and the thread in which they count: off the path of every request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from edgemm.bundle import BlobSource
from edgemm.bundle.manifest import DType, Manifest, Variant
from edgemm.errors import BundleError, EdgemmError
from edgemm.monitoring import MonitorDocument, monitor_document
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.monitoring.watch import ModelWatch

_log = logging.getLogger(__name__)
_EVERY_S = 0.25
"""How long requests wait to be counted where each one is looked at."""
_LEAST_PAUSE_S = 0.01
"""The thread wakes no more often, whatever the rate."""
_MINUTE_S = 60.0
_MOST_IDLE = 4
"""Watches over models that are not served: a rollback, or a load, may bring them back."""


class Watching:
    """Starts its thread with the first watch; the thread ends with the process, or with `close`."""

    def __init__(self, limits: MonitorLimits | None = None) -> None:
        self._limits = limits or MonitorLimits()
        self._lock = threading.Lock()
        self._watches: dict[ServedKey, ModelWatch] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def beside(
        self,
        key: ServedKey,
        source: MonitorDocument,
        manifest: Manifest,
        variant: Variant,
        *,
        in_use: Collection[ServedKey] = (),
    ) -> ModelWatch:
        """Return the watch over a model; one that was active lately goes on counting.

        Of those that are not `in_use` only the newest are kept.
        """
        with self._lock:
            watch = self._watches.pop(key, None) or ModelWatch(key, source, manifest, variant, self._limits)
            for idle in [other for other in self._watches if other not in in_use][:-_MOST_IDLE]:
                del self._watches[idle]
            self._watches[key] = watch
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="edgemm-monitor", daemon=True)
                self._thread.start()
        watch.wanted = True
        return watch

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
        pause_s = max(_LEAST_PAUSE_S, _MINUTE_S / rate) if rate else _EVERY_S
        while not self._stopping.wait(pause_s):
            self.settle()


def document_of(source: BlobSource) -> MonitorDocument | None:
    """Return the document by which a bundle's model is monitored; None without one, or where it cannot be read."""
    digest = source.manifest.documents.get(monitor_document.NAME)
    if digest is None:
        return None
    try:
        size = source.manifest.blobs[digest].size
        if size > monitor_document.MAX_BYTES:
            raise BundleError(f"its document has {size:,} bytes, expected at most {monitor_document.MAX_BYTES:,}")
        return _fitting(monitor_document.decode(source.read(digest)), source.manifest)
    except (EdgemmError, OSError) as err:
        manifest = source.manifest
        _log.warning("model is not monitored model=%s version=%s error=%s", manifest.name, manifest.version, err)
        return None


def _fitting(document: MonitorDocument, manifest: Manifest) -> MonitorDocument:
    """Return a document by which a model can be watched.

    Raises:
        BundleError: it is of tensors that the model has not, or of a later edgemm.
    """
    numbers = {
        spec.name
        for spec in (*manifest.signature.inputs, *manifest.signature.outputs)
        if spec.shape and spec.dtype.known and spec.dtype is not DType.STRING
    }
    for name in (*document.view.inputs, document.output):
        if name not in numbers:
            raise BundleError(f"its document is of a tensor {name!r}, which is none of the model's rows of numbers")
    for word in (document.view.modality, document.scores):
        if not word.known:
            raise BundleError(f"its document speaks of {word}, which this edgemm does not know: upgrade it")
    return document
