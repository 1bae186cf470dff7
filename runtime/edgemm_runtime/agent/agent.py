"""The device agent: puts its parts together, and runs the loop that hears the broker and speaks to it.

The threads of `ModelServer` serve predictions. Each model has a thread for its updates, and the link has one for the
broker; the director's keys are fetched in one of their own. This loop, in the thread that calls `run`, joins them: it
waits for its inbox and for nothing else. None of them can stop the serving of another.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec import UNSET
from msgspec.structs import replace

from edgemm.errors import MessageError, TrustError
from edgemm.messages import (
    Ack,
    ActionKind,
    Desired,
    DesiredModel,
    DesiredShadow,
    RefusedDesired,
    ReportedShadow,
    decode_control,
)
from edgemm.reasons import Reason
from edgemm.topics import Channel
from edgemm.transport.backoff import Backoff
from edgemm.trust.enrolment import DIRECTOR_TARGET
from edgemm.trust.signing import claimed_generation
from edgemm_runtime.agent.acceptance import Acceptance, Whom, may_install
from edgemm_runtime.agent.actions.actions import Actions
from edgemm_runtime.agent.actions.diagnosis import Diagnosis
from edgemm_runtime.agent.connection.enrolment import device_key
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.connection.known_addresses import KnownAddresses
from edgemm_runtime.agent.connection.mqtt import MqttConnection
from edgemm_runtime.agent.director_keys import KeyFetch
from edgemm_runtime.agent.inbox import Inbox, Received, Signal
from edgemm_runtime.agent.repeats import Repeats
from edgemm_runtime.agent.reporting import gauges
from edgemm_runtime.agent.reporting.reporter import Reporter, Situation
from edgemm_runtime.agent.shadows.shadow_keeper import ShadowKeeper
from edgemm_runtime.agent.shadows.shadow_plan import room_is_wanted
from edgemm_runtime.agent.spool.budget import SpoolRules
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool, open_spool
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.agent.state.boot_count import count_boot
from edgemm_runtime.agent.state.documents import IdentityFile, Installed, ModelFile
from edgemm_runtime.agent.state.shelf import Shelf
from edgemm_runtime.agent.state.speaker import Speaker
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.time_keeper import Clock, TimeKeeper
from edgemm_runtime.agent.time_sync import TimeSync
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.download import BlobDownloader
from edgemm_runtime.agent.update.host import RegistryHost
from edgemm_runtime.agent.update.journal import Journal
from edgemm_runtime.agent.update.steps import Box, Steps, Tools
from edgemm_runtime.agent.update.trusted_versions import TrustedVersions
from edgemm_runtime.agent.update.updater import Updater
from edgemm_runtime.agent.wishes import AskedManifests, Wishes
from edgemm_runtime.engines import available, selftest
from edgemm_runtime.engines.bundle_source import BundleSource
from edgemm_runtime.identity import ServedKey

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 1.0
_ANSWER_PAUSE_S = (5.0, 300.0)
"""Before a known `desired` is answered again: the first pause, and the longest."""
_REFUSAL_PAUSE_S = (60.0, 3600.0)
"""Before a refusal is told again: the first pause, and the longest."""
_SPOOL = "spool.sqlite"
_SPOOL_OPENING_BYTES = 64 * 1024
"""SQLite's index of its log is 32 KiB, and there at once."""
_METADATA_BYTES = 256 * 1024
"""What of TUF's metadata may be new at a time: without it, not even what an update needs can be told."""


class AgentEnding(StrEnum):
    """Why the agent's loop ended."""

    STOPPED = "stopped"
    RESTART = "restart"


class Agent:
    """One device: made, `recover`ed (what is installed serves from then on), and `run` until it is stopped."""

    def __init__(
        self,
        folder: StateFolder,
        identity: IdentityFile,
        host: RegistryHost,
        limits: AgentLimits,
        *,
        clock: Clock,
    ) -> None:
        self._folder, self._host, self._limits, self._clock = folder, host, limits, clock
        self._inbox = Inbox()
        self._changing = threading.RLock()
        self._known = Repeats(first_s=_ANSWER_PAUSE_S[0], longest_s=_ANSWER_PAUSE_S[1])
        self._refusals = Repeats(first_s=_REFUSAL_PAUSE_S[0], longest_s=_REFUSAL_PAUSE_S[1])
        self._refused: RefusedDesired | None = None
        self.came_round_s: float | None = None
        """When the loop came round last, by the monotonic clock; None before `run`."""
        self._time = TimeKeeper(folder, clock, persist_s=limits.time_persist_s)
        self._server = server = _fleet_connection(identity, limits)
        self._addresses = KnownAddresses(folder, identity)
        server.use(self._addresses.servers())
        repository = TrustedVersions(
            folder.path("tuf"),
            server,
            root=identity.root.encode(),
            now=self._time.now,
            room=lambda: folder.room_for(_METADATA_BYTES),
            found_expired=lambda: self._time_sync.doubt(Reason.EXPIRED),
            director=lambda: self._wishes.director,
            director_changed=lambda: self._inbox.put(Signal.KEYS_CHANGED),
        )
        self._fetch = KeyFetch(
            repository,
            fetched=lambda: self._inbox.put(Signal.KEYS),
            monotonic=clock.monotonic,
            every_s=limits.trust_refresh_s,
        )
        self._time_sync = self._sync_of(identity.fleet, repository)
        self._refused_by_date: bytes | None = None
        self._shelf = Shelf(folder)
        self._wishes = Wishes(folder, self._fetch, Whom(identity.fleet, identity.device), now=self._time.now)
        who = Speaker(identity.fleet, identity.device, secrets.token_hex(8), count_boot(folder, self._time))
        self._spool = _open_spool(folder, who, limits, monotonic=clock.monotonic)
        self._reporter = Reporter(who, device_key(folder), self._spool, now=self._time.now, clock=clock, limits=limits)
        self._steps = Steps(self._tools(server, repository))
        self._journal = Journal(folder, tell=self._reporter.tell)
        self._updaters = {name: self._updater(record) for name, record in folder.read_models().items()}
        self._keeper = ShadowKeeper(self._steps, self._shelf, host, records=self._records)
        self._shadows_told: dict[str, ReportedShadow] = {}
        diagnosis = Diagnosis(folder, self._shelf, self._records, self._selftest, self._prune)
        self._actions = Actions(
            folder,
            {**diagnosis.handlers(), ActionKind.SYNC_TIME: self._time_sync.sync},
            restart=lambda: self._inbox.put(Signal.RESTART),
            changed=self._changed,
        )
        self._link = MqttConnection(
            identity.broker,
            who,
            limits,
            on_connected=lambda: self._inbox.put(Signal.CONNECTED),
            on_message=self._inbox.receive,
        )
        self._link.use(self._addresses.brokers())

    def recover(self) -> None:
        """Serve what was committed before; an update that was cut short goes on once `run` is called."""
        for updater in self._updaters.values():
            updater.recover()

    def run(self) -> AgentEnding:
        """Work until `stop`; what serves goes on serving meanwhile and after."""
        self.came_round_s = self._clock.monotonic()
        self._reporter.note(Reason.AGENT_STARTED)
        for name, version in self._folder.put_aside.items():
            self._reporter.note(Reason.STATE_PUT_ASIDE, f"{name} is of version {version}, of a newer agent; begun anew")
        if self._folder.path(DIRECTOR_TARGET).exists():
            # Before an update that is over prunes: what a shadow is made of is to stay.
            self._wishes.restore()
        for updater in self._updaters.values():
            updater.start()
        self._keeper.start()
        self._actions.start()
        self._link.start()
        if not self._folder.path(DIRECTOR_TARGET).exists():
            self._wishes.ask_for_keys()
        elif (kept := self._wishes.restore()) is not None:
            self._obey(kept)
        try:
            return self._loop()
        finally:
            self._end()

    def stop(self) -> None:
        """Ask `run` to end; may be called from a signal handler."""
        self._inbox.put(Signal.STOP)

    def close(self) -> None:
        """Close what is on disk; to be called after `run`."""
        self._spool.close()

    def _loop(self) -> AgentEnding:
        next_window_s = self._clock.monotonic() + self._limits.telemetry_interval_s
        while True:
            self.came_round_s = self._clock.monotonic()
            item = self._next(next_window_s)
            if item in {Signal.STOP, Signal.RESTART}:
                return AgentEnding.STOPPED if item is Signal.STOP else AgentEnding.RESTART
            try:
                self._handle(item)
                if self._clock.monotonic() >= next_window_s:
                    next_window_s = self._clock.monotonic() + self._limits.telemetry_interval_s
                    self._measure()
                if self._fetch.due():
                    self._fetch.begin()
                if self._time_sync.look() or self._shadows_told != self._keeper.reported():
                    self._reporter.changed()
                self._reporter.pump(self._link, self._situation)
            except Exception:  # noqa: BLE001 - the loop's boundary: whatever one message does, the device goes on
                _log.exception("cannot handle item=%s", type(item).__name__)

    def _next(self, next_window_s: float) -> Received | Signal | None:
        return self._inbox.get(min(_LONGEST_WAIT_S, max(0.0, next_window_s - self._clock.monotonic())))

    def _handle(self, item: Received | Signal | None) -> None:
        if item is Signal.CONNECTED:
            self._reporter.connected()
        elif item is Signal.KEYS:
            self._take_keys()
        elif item is Signal.TIME:
            self._take_time()
        elif item is Signal.KEYS_CHANGED:
            self._fetch.begin()
        elif isinstance(item, Received) and item.channel is Channel.ACK:
            self._acknowledge(item.payload)
        elif isinstance(item, Received) and item.channel is Channel.ACTION:
            self._order(item.payload)
        elif isinstance(item, Received) and item.channel is Channel.DESIRED:
            self._receive(item.payload)

    def _acknowledge(self, payload: bytes) -> None:
        try:
            self._reporter.acknowledge(decode_control(payload, Ack).acks)
        except MessageError as err:
            _log.warning("ack ignored error=%s", err)

    def _order(self, payload: bytes) -> None:
        try:
            self._actions.order(self._wishes.ordered(payload, boot=self._reporter.who.boot))
        except (MessageError, TrustError) as err:
            _log.warning("order ignored error=%s", err)

    def _take_time(self) -> None:
        """Go on after a question for the time was answered, or was not: what was refused by its date may hold now."""
        self._changed()
        if not (lowered := self._time_sync.take()):
            return
        self._reporter.note(Reason.TIME_LOWERED, lowered)
        refused, self._refused_by_date = self._refused_by_date, None
        if refused is not None:
            self._receive(refused, again=True)
        elif (current := self._wishes.current) is not None:
            self._obey(current)

    def _take_keys(self) -> None:
        documents, before = self._fetch.take(), self._wishes.current
        if documents is not None:
            self._addresses.take(documents.addresses)
            self._server.use(self._addresses.servers())
            self._link.use(self._addresses.brokers())
        waiting = self._wishes.take_keys(documents.director if documents else None)
        if before is not None and self._wishes.current is None:
            self._changed()  # a manager that hears of no generation tells the device anew
        elif self._wishes.current is None and (kept := self._wishes.restore()) is not None:
            self._obey(kept)
        for one in waiting:
            self._receive(one.data, again=not one.late)

    def _receive(self, payload: bytes, *, again: bool = False) -> None:
        try:
            answer = self._wishes.receive(payload, again=again)
        except (MessageError, TrustError) as err:
            self._refuse(
                RefusedDesired(
                    cause=Reason.DESIRED_UNTRUSTED, generation=claimed_generation(payload), detail=str(err)[:1000]
                ),
                of_fleet=False,
            )
            return
        if answer is None:
            return
        if answer.refused:
            if answer in {Acceptance.EXPIRED, Acceptance.TOO_EARLY}:
                self._refused_by_date = payload
                self._time_sync.doubt(Reason(answer.value))
            self._refuse(
                RefusedDesired(cause=answer.value, generation=claimed_generation(payload)),
                of_fleet=answer is not Acceptance.FOREIGN,
            )
            return
        current = self._wishes.current
        if answer.taken:
            self._known.clear()
            self._refusals.clear()
        elif not self._known.due(answer, self._clock.monotonic()):
            return
        if answer is not Acceptance.OLDER:
            self._refused = None
        _log.info("desired answer=%s generation=%s", answer, current.generation if current else 0)
        if current is not None:
            # Also when it is known already: what a fault kept from being done is done now.
            self._obey(current)
        # A manager that sent what was known already has not heard which generation this device is at.
        self._changed()

    def _refuse(self, refused: RefusedDesired, *, of_fleet: bool) -> None:
        """Tell a refusal, and the same again only after a pause: neither fleet nor broker is to be drawn into a loop.

        Of what the director signed for this device, each generation is told of; of the rest, each cause.
        """
        key = (refused.cause, refused.generation if of_fleet else None)
        if not self._refusals.due(key, self._clock.monotonic()):
            return
        _log.error(
            "desired refused cause=%s generation=%s detail=%s", refused.cause, refused.generation, refused.detail
        )
        self._refused = refused
        self._reporter.note(Reason(refused.cause), refused.detail)
        self._changed()

    def _obey(self, desired: Desired) -> None:
        if not may_install(desired, self._time.now()):
            _log.warning("desired expired generation=%d: nothing new is installed", desired.generation)
            self._time_sync.doubt(Reason.DESIRED_EXPIRED)
            return
        wanted = {model.name: model for model in desired.models}
        for name in wanted.keys() - self._updaters.keys():
            self._updaters[name] = self._updater(ModelFile(name=name))
            self._updaters[name].start()
        for name, updater in self._updaters.items():
            updater.tell(wanted.get(name))
        self._keeper.want(_shadows(desired))
        self._actions.want(desired.actions)

    def _measure(self) -> None:
        self._folder.reserve.fill()
        for updater in list(self._updaters.values()):
            updater.catch_up()
        records = self._records()
        active = frozenset((r.name, r.active.digest, r.active.variant) for r in records if r.active)
        self._reporter.measure(self._host.served(), active, gauges.gauges(self._folder.folder))

    def _situation(self) -> Situation:
        current = self._wishes.current
        self._shadows_told = self._keeper.reported()
        return Situation(
            records=tuple(self._records()),
            generation=current.generation if current else 0,
            desired_hash=self._wishes.current_hash,
            refused=self._refused,
            wanted=frozenset(model.name for model in current.models) if current else frozenset(),
            engines=available(),
            actions=self._actions.results,
            shadows=self._shadows_told,
            clock=self._time_sync.reported(),
            connection=max(1, self._link.connection),
        )

    def _records(self) -> list[ModelFile]:
        return [updater.record for updater in list(self._updaters.values())]

    def _changed(self) -> None:
        self._keeper.changed()
        self._reporter.changed()
        self._inbox.put(Signal.WAKE)

    def _updater(self, record: ModelFile) -> Updater:
        # A record that was lost, or is older than what was told, must not number its transitions over again.
        record = replace(record, serial=max(record.serial, self._reporter.last_serial(record.name)))
        return Updater(record, self._steps, self._journal, changing=self._changing, changed=self._changed)

    def _prune(self) -> int:
        with self._changing:
            records, current = self._records(), self._wishes.current
            wanted = _shadows(current) if current and not room_is_wanted(records) else {}
            spared = [shadow.digest for shadow in wanted.values()]
            return self._shelf.prune(_kept(records), in_flight=_in_flight(records), spared=spared)

    def believed_time_s(self) -> float | None:
        """Return the time in seconds since the epoch, None while no clock is to be believed; from any thread."""
        return self._time.believed_s()

    def source(self, key: ServedKey) -> BundleSource:
        """Return the bundle of something that is served; raises as `Shelf.manifest`."""
        return self._shelf.source(key.digest)

    def _selftest(self, installed: Installed) -> None:
        selftest.run_in_child(
            self._shelf.location(installed.digest),
            installed.variant,
            timeout_s=self._limits.selftest_timeout_s,
            threads=installed.threads,
        )

    def _sync_of(self, fleet: str, repository: TrustedVersions) -> TimeSync:
        limits, clock = self._limits, self._clock
        return TimeSync(
            self._time,
            self._server,
            repository,
            fleet=fleet,
            backoff=Backoff(limits.backoff_first_s, limits.backoff_max_s),
            monotonic=clock.monotonic,
            answered=lambda: self._inbox.put(Signal.TIME),
        )

    def _tools(self, server: FleetConnection, repository: TrustedVersions) -> Tools:
        folder, limits = self._folder, self._limits
        return Tools(
            manifests=AskedManifests(repository, self._wishes),
            blobs=BlobDownloader(server, self._shelf.blobs, self._shelf.partial, sync_bytes=limits.partial_sync_bytes),
            shelf=self._shelf,
            selftest=self._selftest,
            host=self._host,
            box=Box(
                available,
                gauges.memory_available_bytes,
                lambda: gauges.disk_free_bytes(folder.folder),
                lambda: gauges.growth_bytes(folder.path(_SPOOL), cap_bytes=limits.spool_bytes),
            ),
            clock=self._clock,
            limits=limits,
            prune=self._prune,
        )

    def _end(self) -> None:
        """End all threads, in at most twice the time for a stop: the half of it is for the last words to the broker."""
        self._server.interrupt()
        for updater in self._updaters.values():
            updater.stop()
        deadline_s = self._clock.monotonic() + self._limits.stop_timeout_s
        for name, updater in self._updaters.items():
            if not updater.join(max(0.0, deadline_s - self._clock.monotonic())):
                _log.warning("update still in a step that cannot be interrupted model=%s", name)
        self._keeper.stop(max(0.0, deadline_s - self._clock.monotonic()))
        self._actions.stop()
        self._reporter.pump(self._link, self._situation)
        self._link.stop(self._limits.stop_timeout_s)


def _fleet_connection(identity: IdentityFile, limits: AgentLimits) -> FleetConnection:
    return FleetConnection(
        identity.url,
        tls_fingerprint=identity.tls_fingerprint,
        connect_timeout_s=limits.connect_timeout_s,
        read_timeout_s=limits.read_timeout_s,
        bearer=identity.bearer,
        slow_s=limits.slow_s,
        min_bytes_per_s=limits.min_bytes_per_s,
        document_s=limits.document_s,
    )


def _open_spool(folder: StateFolder, who: Speaker, limits: AgentLimits, *, monotonic: Callable[[], float]) -> Spool:
    with folder.room_for(_SPOOL_OPENING_BYTES):
        settings = SpoolSettings(
            boot=who.boot,
            boot_count=who.boot_count,
            max_bytes=limits.spool_bytes,
            day_bytes=limits.sd_write_bytes_per_day,
            rules=SpoolRules(hold_s=limits.spool_hold_s, memory_bytes=limits.spool_memory_bytes),
            monotonic=monotonic,
        )
        return open_spool(folder.path(_SPOOL), settings)


def _shadows(desired: Desired) -> dict[str, DesiredShadow]:
    configs = {model.name: model.config for model in desired.models if not model.unknown}
    return {name: config.shadow for name, config in configs.items() if config.shadow is not UNSET}


def _kept(records: Iterable[ModelFile]) -> list[Installed]:
    return [installed for record in records for installed in machine.keeps(record)]


def _in_flight(records: Iterable[ModelFile]) -> list[str]:
    targets: list[DesiredModel] = [r.update.target for r in records if r.update and not machine.is_over(r)]
    return [target.digest for target in targets]
