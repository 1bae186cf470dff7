"""The facts by which the manager's health is judged and measured. Values alone; `vitals` gathers them.

Durations are seconds; what ends is told in seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgemm_fleet.instruments import COUNTS, NOTHING, SECONDS, Distribution, Lately
from edgemm_fleet.records.expiries import Expiry


@dataclass(frozen=True, kw_only=True)
class BrokerFacts:
    """The manager's connection to the broker."""

    url: str = ""
    gone_s: float | None = None
    """For how long there has been none; None: there is one."""
    turned_away: bool = False
    """The broker is there, and does not let the manager in."""


@dataclass(frozen=True, kw_only=True)
class IngestFacts:
    """The way of devices' messages into the database."""

    waiting: int = 0
    waiting_bytes: int = 0
    behind_s: float = 0.0
    """How long ago the message came that is stored next."""
    lately: Lately = NOTHING
    """Messages in each batch."""
    batches: Distribution = field(default_factory=lambda: Distribution(COUNTS))


@dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """How the database takes what is written."""

    failing_s: float | None = None
    """For how long it has taken no reads, or no writes; None: it takes both."""
    error: str = ""
    under_way_s: float = 0.0
    """For how long the present write has had its turn."""
    waits: Lately = NOTHING
    work: Lately = NOTHING
    commits: Lately = NOTHING
    size_bytes: int | None = None
    is_file: bool = True
    """SQLite's, and no server's."""

    @property
    def writer_share(self) -> float:
        """The part of the last half minute in which somebody wrote, 0 to 1."""
        return min(1.0, self.work.rate + self.commits.rate)


@dataclass(frozen=True, kw_only=True)
class WriteDistributions:
    """Seconds of writes since the start of the process."""

    waited: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    worked: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    committed: Distribution = field(default_factory=lambda: Distribution(SECONDS))


@dataclass(frozen=True, kw_only=True)
class DiskFacts:
    """The file system of the fleet folder."""

    size_bytes: int
    free_bytes: int

    @property
    def used_share(self) -> float:
        """What of it is used, 0 to 1."""
        return 1.0 - self.free_bytes / max(1, self.size_bytes)


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """One thread of the manager that repeats a step."""

    name: str
    quiet_s: float = 0.0
    """How long ago it did a step last."""
    most_quiet_s: float
    """A step takes no longer where nothing hangs."""
    failing_s: float | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class FleetCounts:
    """Numbers of the fleet; the database was asked for most of them within the last few seconds."""

    online: int = 0
    offline: int = 0
    refusing: int = 0
    """Devices that do not act on what they are told, up to `vitals.MOST_COUNTED`, as those below."""
    duplicates: int = 0
    untold: int = 0
    """Devices of which the broker has yet to be given something."""
    cut_off: int = 0
    unreadable: int = 0
    """Parts of rows of the database that cannot be read."""
    rollouts: Mapping[str, int] = field(default_factory=dict)
    ingested: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SignedRole:
    """A role of the version repository that the manager signs anew by itself."""

    name: str
    ends_at: float
    lifetime_s: float


@dataclass(frozen=True, kw_only=True)
class HealthFacts:
    """All facts at one time."""

    now: float
    broker: BrokerFacts = BrokerFacts()
    ingest: IngestFacts = field(default_factory=IngestFacts)
    database: DatabaseFacts = DatabaseFacts()
    disk: DiskFacts | None = None
    fleet: FleetCounts = field(default_factory=FleetCounts)
    outbox_behind_s: float = 0.0
    """Since when something has all the time been on its way to the broker."""
    tick_age_s: float = 0.0
    """How long ago deadlines, soaks and pauses were looked at last."""
    workers: Sequence[WorkerFacts] = ()
    clock_plausible: bool = True
    clock_settled: bool = True
    """The clock did not leap, or so long ago that it is believed."""
    endings: Sequence[Expiry] = ()
    signed: Sequence[SignedRole] = ()
    connections: int = 0
    most_connections: int = 1
