"""The vital signs of a running manager: all facts about its health, gathered when somebody asks.

What a process knows of itself is read at once. The database is asked for counts, none of which costs a look at each
device, and no sooner than `COUNTED_EVERY_S` after the last time: however often the manager is asked how it is, that is
no burden. Where the database does not answer, the counts of before stand.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgemm import times
from edgemm.errors import EnvironmentFailure
from edgemm_fleet.health.health_facts import (
    DatabaseFacts,
    DiskFacts,
    FleetCounts,
    HealthFacts,
    SignedRole,
    WriteDistributions,
)
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.records.expiries import Expiry
from edgemm_fleet.store import desired, devices, rollouts, streams
from edgemm_fleet.store.database import Store
from edgemm_fleet.store.dialects.either_dialect import size_bytes

COUNTED_EVERY_S = 5.0
MOST_COUNTED = 10_000
"""So many of one kind are counted, and no more: what is told as 10,000 may be more."""


@dataclass(frozen=True)
class _Counted:
    """What the database was asked for."""

    fleet: FleetCounts = field(default_factory=FleetCounts)
    size_bytes: int | None = None


class Vitals:
    """Gathers the facts; safe to use from several threads."""

    def __init__(
        self, store: Store, hearing: Hearing, folder: Path, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self.hearing, self._folder, self._monotonic = store, hearing, folder, monotonic
        self._lock = threading.Lock()
        self._counted, self._counted_s = _Counted(), float("-inf")

    def facts(self, *, now: float, endings: Sequence[Expiry] = (), signed: Sequence[SignedRole] = ()) -> HealthFacts:
        """Return all facts as they are at `now`, in seconds since the epoch."""
        self._count()
        hearing = self.hearing
        return HealthFacts(
            now=now,
            broker=hearing.broker(),
            ingest=hearing.ingest(),
            database=self._database(),
            disk=_disk(self._folder),
            fleet=self._fleet(),
            outbox_behind_s=hearing.outbox_behind_s(),
            tick_age_s=hearing.tick_age_s(),
            workers=tuple(hearing.workers()),
            clock_plausible=times.plausible(now),
            clock_settled=hearing.clock_settled(),
            endings=tuple(endings),
            signed=tuple(signed),
            connections=hearing.connections(),
            most_connections=hearing.most_connections,
        )

    def writes(self) -> WriteDistributions:
        """Return the times of all writes since the start."""
        found = self._store.write_times
        return WriteDistributions(waited=found.waited, worked=found.worked, committed=found.committed)

    def _fleet(self) -> FleetCounts:
        census, counted = self._store.census, self._counted.fleet
        return FleetCounts(
            online=census.online,
            offline=census.offline,
            refusing=counted.refusing,
            duplicates=counted.duplicates,
            untold=counted.untold,
            cut_off=self.hearing.cut_off(),
            unreadable=len(self._store.quarantine.parts()),
            rollouts=counted.rollouts,
            ingested=counted.ingested,
        )

    def _database(self) -> DatabaseFacts:
        store, now_s = self._store, self._monotonic()
        failing = [(since_s, kind.error) for kind in (store.writing, store.reading) if (since_s := kind.failing_s())]
        failing_s, error = max(failing, default=(None, ""))
        found = store.write_times
        return DatabaseFacts(
            failing_s=failing_s,
            error=error,
            under_way_s=found.under_way_s(),
            waits=found.waited.recent(now_s=now_s),
            work=found.worked.recent(now_s=now_s),
            commits=found.committed.recent(now_s=now_s),
            size_bytes=self._counted.size_bytes,
            is_file=isinstance(store.path, Path),
        )

    def _count(self) -> None:
        """Ask the database, unless that was done a moment ago, or somebody else is at it."""
        if self._monotonic() - self._counted_s < COUNTED_EVERY_S or not self._lock.acquire(blocking=False):
            return
        try:
            with self._store.read() as tx:
                fleet = FleetCounts(
                    refusing=desired.refusing(tx, most=MOST_COUNTED),
                    duplicates=devices.duplicates(tx, most=MOST_COUNTED),
                    untold=desired.waiting(tx, most=MOST_COUNTED),
                    rollouts={state.value: number for state, number in rollouts.state_counts(tx).items()},
                    ingested={stream.value: number for stream, number in streams.received(tx).items()},
                )
                self._counted = _Counted(fleet, size_bytes(tx, self._store.path))
        except EnvironmentFailure:
            pass  # the store notes it, and that is told
        finally:
            self._counted_s = self._monotonic()
            self._lock.release()


def _disk(folder: Path) -> DiskFacts | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return DiskFacts(size_bytes=found.f_blocks * found.f_frsize, free_bytes=found.f_bavail * found.f_frsize)
