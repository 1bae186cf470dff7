"""The running fleet manager: store, broker, ingest, director and rollouts, started and stopped as one.

    services = FleetServices(settings, store=store, director_key=key)
    services.start()
    …
    services.stop()

It has no main loop: broker, link, ingest, outbox and clock are threads. All state is in the store, so that the manager
may be killed at any time.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from securesystemslib.signer import CryptoSigner

from edgemm import times, topics
from edgemm.errors import EnvironmentFailure
from edgemm.states import RolloutState
from edgemm.transport.whole_packets import Taken
from edgemm_fleet.broker.broker_connection import BrokerConnection
from edgemm_fleet.broker.broker_settings import BrokerSettings, Provider
from edgemm_fleet.broker.credentials import CredentialProvider, EmbeddedCredentials, StaticCredentials
from edgemm_fleet.broker.embedded import EmbeddedBroker
from edgemm_fleet.broker.login_keeper import LoginKeeper
from edgemm_fleet.broker.mosquitto import MosquittoCredentials, MosquittoFiles
from edgemm_fleet.broker.passwords import matches
from edgemm_fleet.broker.topic_rights import BrokerRules
from edgemm_fleet.clock import PROVEN_S, ManagerClock, check_clock
from edgemm_fleet.director.action_requests import ActionRequests
from edgemm_fleet.director.answering import Answering
from edgemm_fleet.director.composition import Validity
from edgemm_fleet.director.director import Director
from edgemm_fleet.director.orders import Orders
from edgemm_fleet.director.outbox import Outbox
from edgemm_fleet.ingest import doubts
from edgemm_fleet.ingest.batch import Ingest
from edgemm_fleet.ingest.consumer import Consumer
from edgemm_fleet.ingest.shedding import Shedding
from edgemm_fleet.rollout.hand_outs import HandOuts
from edgemm_fleet.rollout.machine import OPEN_STATES
from edgemm_fleet.rollout.operations import RolloutOperations
from edgemm_fleet.rollout.preparer import Preparer
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.server.retention import Pruner, Retention
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store import Store, dates, desired, devices, notes
from edgemm_fleet.worker import Worker

_log = logging.getLogger(__name__)
_TOLD_AT_ONCE = 500


@dataclass(frozen=True)
class ManagerSettings:
    """All settings of the manager without its HTTP side."""

    fleet: str
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    validity: Validity = field(default_factory=Validity)
    retention: Retention = field(default_factory=Retention)
    connect_timeout_s: float = 5.0
    """How long `start` waits for the broker before it goes on without."""
    tick_s: float = 0.5
    """How often deadlines and soak times are looked at."""
    resend_after_s: float = 30.0
    """After this long without an answer a connected device is sent its `desired` again; it doubles each time."""


class RunningParts(NamedTuple):
    """The parts of a manager that know how it is; None: it has not started."""

    link: BrokerConnection | None
    consumer: Consumer | None
    outbox: Outbox | None
    ticker: Worker
    workers: tuple[Worker, ...]
    """Threads that do a step now and then, `ticker` among them."""


class FleetServices:
    """A fleet manager without its HTTP side; `operations`, `shadows`, `actions` and `credentials` are for that side."""

    def __init__(
        self,
        settings: ManagerSettings,
        *,
        store: Store,
        director_key: CryptoSigner,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leaps = clock if isinstance(clock, ManagerClock) else ManagerClock(clock)
        self.settings, self.store = settings, store
        self._clock: Callable[[], float] = self._leaps
        self.director = Director(settings.fleet, director_key, validity=settings.validity)
        self._runner = Runner(self.director)
        self._answering = Answering(self.director)
        self._orders = Orders(store, director=self.director, publish=self._publish)
        self.shedding = Shedding(clock=clock)
        """What was thrown away of devices that sent more than their share."""
        self.ingest = Ingest(
            store,
            fleet=settings.fleet,
            director=self.director,
            runner=self._runner,
            order=self._orders.due,
            shedding=self.shedding,
        )
        self.broker: EmbeddedBroker | None = None
        self._broker_settings = settings.broker.with_login()
        if settings.broker.provider is Provider.EMBEDDED:
            self.broker = EmbeddedBroker(BrokerRules(settings.fleet, self._verify), self._broker_settings)
        self._mosquitto: MosquittoCredentials | None = None
        self._keeper: LoginKeeper | None = None
        if settings.broker.provider is Provider.MOSQUITTO:
            files = MosquittoFiles(self._broker_settings, settings.fleet)
            self._mosquitto = MosquittoCredentials(files, self._logins)
        self._link: BrokerConnection | None = None
        self._consumer: Consumer | None = None
        self._outbox: Outbox | None = None
        self._clock_good = True
        self._redated = False
        self._pruner = Pruner(store, settings.retention, clock=self._leaps)
        self._ticker = Worker("edgemm-clock", self._tick)
        self._preparer = Preparer(store, self._runner, clock=self._clock, wake=self.wake)
        self.operations = RolloutOperations(store, self._runner, wake=self.wake)
        self.shadows = ShadowOperations(store, self.director, wake=self.wake)
        self.actions = ActionRequests(store, self.director, wake=self.wake, order=self._orders.due)

    @property
    def broker_settings(self) -> BrokerSettings:
        """The broker's facts with what is known only now: the port for port 0, and a login that was made up."""
        return self._broker_settings if self.broker is None else replace(self._broker_settings, port=self.broker.port)

    @property
    def port(self) -> int:
        """The broker's port; known for port 0 once the manager has started."""
        return self.broker_settings.number

    @property
    def connected(self) -> bool:
        """Whether the manager has its connection to the broker."""
        return self._link is not None and self._link.connected

    @property
    def running(self) -> RunningParts:
        """The parts that know how the manager is."""
        parts = (self._consumer, self._outbox, self._orders, self._keeper, self._preparer)
        workers = [self._ticker, *(part.worker for part in parts if part is not None)]
        return RunningParts(self._link, self._consumer, self._outbox, self._ticker, tuple(workers))

    @property
    def refusals(self) -> int:
        """How often the broker was reached and did not let the manager in."""
        return 0 if self._link is None else self._link.refusals

    @property
    def credentials(self) -> CredentialProvider:
        """How devices get to the broker."""
        broker = self.broker_settings
        match broker.provider:
            case Provider.EMBEDDED:
                return EmbeddedCredentials(broker, self._drop_removed)
            case Provider.STATIC:
                return StaticCredentials(broker)
            case Provider.MOSQUITTO:
                assert self._mosquitto is not None
                return self._mosquitto

    def start(self) -> None:
        """Start everything; a broker that is not there yet is waited for in the background.

        Raises:
            EnvironmentFailure: the embedded broker's port is taken, Mosquitto's files cannot be written, or the clock
                cannot be right.
        """
        check_clock(self._clock())
        settings = self.settings
        if self.broker is not None:
            self.broker.start()
            with self.store.write() as tx:
                devices.all_offline(tx)  # the wills of its last life died with it
        self._tell_broker()
        client_id = f"edgemm-manager-{hashlib.sha256(settings.fleet.encode()).hexdigest()[:8]}"
        access = self.broker_settings.manager_access()
        link = BrokerConnection(access, fleet=settings.fleet, client_id=client_id, receive=self._receive)
        self._link = link
        self._consumer = Consumer(
            self.ingest,
            fleet=settings.fleet,
            clock=self._clock,
            publish=link.send_together,
            committed=self.wake,
            clear=link.clear,
        )
        self._outbox = Outbox(
            self.store,
            director=self.director,
            link=link,
            hand_outs=HandOuts(self.store, self._runner),
            clock=self._clock,
            first_pause_s=settings.resend_after_s,
            follows=self._consumer.progress.follows,
        )
        if self._mosquitto is not None:
            self._keeper = LoginKeeper(
                self._mosquitto, cut_off=self.shedding.cut_off, refusals=lambda: self.refusals, told=self._swept
            )
            self.shedding.cut = self._keeper.wake
            self._keeper.start()
        for part in (self._consumer, link, self._outbox, self._orders, self._ticker, self._pruner, self._preparer):
            part.start()
        if not link.wait_until_connected(settings.connect_timeout_s):
            _log.warning("broker_unreachable host=%s port=%d; goes on trying", access.host, access.port)

    def stop(self) -> None:
        """Stop everything, in the order that loses nothing; what is unsent is sent after the next start."""
        self._ticker.stop()
        self._preparer.stop()
        self._pruner.stop()
        self._orders.stop()
        for part in (self._keeper, self._link, self._consumer, self._outbox, self.broker):
            if part is not None:
                part.stop()

    def use_director(self, key: CryptoSigner) -> None:
        """Sign with another key from now on, and tell every device anew: none believes the old one any more."""
        self.director.use(key)
        key_id, after = key.public_key.keyid, ""
        with self.store.read() as tx:
            before = notes.get(tx, notes.DIRECTOR_KEY)
        if before == key_id:
            return
        while before is not None:
            with self.store.write() as tx:
                told = desired.told_after(tx, after, limit=_TOLD_AT_ONCE)
                desired.mark_unsent(tx, told)
            if not told:
                break
            after = told[-1]
        with self.store.write() as tx:
            notes.put(tx, notes.DIRECTOR_KEY, key_id)
        _log.info("director_key key=%s before=%s", key_id, before)
        self.wake()

    def renew_certificate(self) -> None:
        """Have the broker show the certificate that lies in the folder now, where that is its own.

        Raises:
            EnvironmentFailure: it cannot be used, so the one before stays in use; or Mosquitto does not follow.
        """
        if self.broker is not None:
            self.broker.renew_certificate()
        if self._mosquitto is not None:
            self._mosquitto.renew_certificate()
        if self._link is not None:
            self._link.go_to(self.broker_settings.manager_access(), now=False)

    def wake(self) -> None:
        """Send what was just written; called after a commit that may have changed what devices are told."""
        if self._outbox is not None:
            self._outbox.wake()

    def _publish(self, topic: str, payload: bytes) -> object:
        return None if self._link is None else self._link.publish(topic, payload)

    def _receive(self, messages: Sequence[Taken]) -> None:
        assert self._consumer is not None
        self._consumer.receive_all(messages)

    def _tick(self, stopping: threading.Event) -> None:
        stopping.wait(self.settings.tick_s)
        self._go_along()
        now = self._clock()
        if not self._dependable(now):
            return
        self._runner.tick(self.store, now=now)
        with self.store.write() as tx:
            self.director.renew(tx, now=now)
            self._answering.again(tx, now=now)
            if self.connected:
                doubts.settle(tx, now=now)
                self.ingest.unheard.ask(tx, now=now)
        self.wake()

    def _go_along(self) -> None:
        """Believe a leap of the clock that has lasted, and move by as much what runs by a deadline."""
        if not self._redated and self._leaps.lasted_s() >= PROVEN_S:
            with self.store.write() as tx:
                dates.redate(tx, now=self._clock())
            self._redated = True
        if not (leap_s := self._leaps.confirmed()):
            return
        with self.store.write() as tx:
            dates.shift(tx, [*OPEN_STATES, RolloutState.DRAFT, RolloutState.READY], by_s=leap_s)
        self._leaps.adopt()
        self._redated = False
        _log.warning("clock believed by=%.0f s; deadlines moved", leap_s)

    def _dependable(self, now: float) -> bool:
        """Tell whether to act by this time: one leap of the clock must not end every deadline, nor renew with it."""
        good = times.plausible(now)
        if good is not self._clock_good:
            self._clock_good = good
            _log.log(
                logging.INFO if good else logging.ERROR, "clock_judged clock=%s plausible=%s", times.to_text(now), good
            )
        return good

    def _verify(self, username: str, password: str) -> bool:
        own = self._broker_settings.login
        if own is not None and username == own[0]:
            return secrets.compare_digest(password.encode(), own[1].encode())
        with self.store.read() as tx:
            stored = devices.broker_hash(tx, username)
        return stored is not None and matches(password, stored)

    def _tell_broker(self) -> None:
        try:
            self.credentials.refresh()
        except EnvironmentFailure as err:
            if self._mosquitto is None or not self._mosquitto.intact:
                raise
            _log.error("broker_not_told error=%s", err)  # the files are there, and it is told again when it refuses

    def _logins(self) -> list[tuple[str, str]]:
        shut_out = self.shedding.cut_off()
        with self.store.read() as tx:
            return [login for login in devices.broker_hashes(tx) if login[0] not in shut_out]

    def _swept(self, shut_out: frozenset[str]) -> None:
        """Hear what the broker retains of devices that were shut out: what is none of theirs is cleared."""
        for device in shut_out:
            if self._link is not None:
                self._link.hear_again(f"{topics.ROOT}/{self.settings.fleet}/+/{device}/#")

    def _drop_removed(self) -> None:
        if self.broker is not None:
            connected = self.broker.usernames()  # first: whoever is let in meanwhile is not among them
            with self.store.read() as tx:
                enrolled = devices.live(tx, connected)
            self.broker.close_connections(connected - enrolled.keys())
