"""The options and limits of a device agent; the command line loads them once and passes them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgemm.transport.patience import HttpPatience
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.mqtt.owner_broker import OwnerBroker
from edgemm_runtime.serving.access import Access
from edgemm_runtime.shadow.shadow_limits import ShadowLimits

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class AgentLimits:
    """Every limit and interval of the agent, with its unit."""

    telemetry_interval_s: float = 60.0
    """One window of counters is spooled this often."""

    spool_bytes: int = 16 * MIB
    """Events and telemetry that wait for an acknowledgement; beyond it the oldest are dropped and counted."""

    sd_write_bytes_per_day: int = 32 * MIB
    """What the spool may write to the disk in any 24 hours that the device runs; a card wears by it."""

    spool_hold_s: float = 600.0
    """A window of telemetry that is not acknowledged by then is written; a loss of power costs what is not written."""

    spool_memory_bytes: int = MIB
    """What waits in memory where the budget is used up; beyond it the oldest windows are dropped and counted."""

    resend_after_s: float = 30.0
    """What is not acknowledged by then is sent again; later each time that nobody answered (`backoff_max_s`)."""

    in_flight_messages: int = 64
    """Spooled messages that may be on their way at a time."""

    reserve_bytes: int = 16 * MIB
    """Disk that a download leaves free, so that state can still be written."""

    state_reserve_bytes: int = MIB
    """Disk that is really kept from everybody, and given back for the device's own state where the disk is full."""

    partial_sync_bytes: int = 64 * 1024
    """A download is made durable every so many bytes: what a loss of power may cost on the wire."""

    download_give_up_s: float = 24 * 3600.0
    """An update whose bytes cannot be had for so long fails as `unreachable`."""

    damaged_retries: int = 3
    """Wrong bytes or signatures in a row before an update ends."""

    load_tries: int = 4
    """How often what was good is loaded, with pauses between, before it is given up for what came before it."""

    backoff_first_s: float = 1.0
    """Upper end of the first pause after a failed transfer or connection; it doubles from there."""

    backoff_max_s: float = 300.0
    """The longest such pause, and by how much at most a silent fleet delays what is sent again."""

    connect_timeout_s: float = 10.0
    """Time to connect to the fleet manager or the broker, for its name, TCP and TLS together."""

    read_timeout_s: float = 30.0
    """Longest silence of the fleet manager inside one answer."""

    slow_s: float = HttpPatience.slow_s
    """Time for the head of an answer of the fleet manager, and for `min_bytes_per_s` to be judged by."""

    min_bytes_per_s: int = HttpPatience.min_bytes_per_s
    """A download that is slower than this, over `slow_s`, is given up and resumed later."""

    document_s: float = HttpPatience.document_s
    """Time for all the metadata that one look at the version repository takes."""

    trust_refresh_s: float = 3600.0
    """At least so often the director's keys and the fleet's addresses are looked for; sooner where they are needed."""

    selftest_timeout_s: float = 120.0
    """A self-test child that runs longer is killed and fails the update."""

    hang_timeout_s: float = 30.0
    """The first golden sample on probation that takes longer counts as a hang; later ones are compared with it."""

    time_persist_s: float = 6 * 3600.0
    """Trusted time is written when it rose by so much; rarely, for the SD card's sake."""

    keepalive_s: int = 30
    """MQTT keep-alive."""

    stop_timeout_s: float = 10.0
    """How long a stop waits for the update threads, and then for the broker."""


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """How one device agent runs."""

    fleet_url: str
    """Base URL of the fleet manager: https://…, or http://… on loopback alone."""

    state_dir: Path
    """Where identity, models and the spool live; one agent at a time."""

    token: str | None = None
    """The enrolment token `emt1_…`; needed at the first start only."""

    name: str | None = None
    """What people call the device; the host's name by default."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the device asks for when it enrols."""

    listen: tuple[str, ...] = ("127.0.0.1",)
    """Addresses at which predictions are served."""

    port: int = 8080
    """Port on which predictions are served."""

    access: Access = field(default_factory=Access)
    """Who may ask for predictions."""

    limits: AgentLimits = AgentLimits()
    """Limits and intervals."""

    serving: ServingLimits = field(default_factory=ServingLimits)
    """Limits of the HTTP server."""

    shadow: ShadowLimits = field(default_factory=ShadowLimits)
    """Limits of each shadow."""

    monitor: MonitorLimits = field(default_factory=MonitorLimits)
    """Limits of the monitoring of each model."""

    sequences: SequenceLimits = field(default_factory=SequenceLimits)
    """Limits of the sequences of each stateful model."""

    mqtt: OwnerBroker | None = None
    """The owner's broker, over which predictions are asked for too."""
