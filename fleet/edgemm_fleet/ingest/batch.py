"""The processing of a batch of messages: they are checked, stored and acted on in one transaction.

The caller acknowledges them when the batch is durable. Storing is idempotent, so a batch may be given again after a
failure, and devices may send everything twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from securesystemslib.signer import Key

from edgemm.errors import MessageError, TrustError
from edgemm.messages import Ack, Event, Reported, Status, Stream
from edgemm.trust import signing
from edgemm_fleet.director.answering import Answering
from edgemm_fleet.director.director import Director
from edgemm_fleet.director.standing import REFUSALS, settled
from edgemm_fleet.ingest.ingest_counters import DUPLICATE, IGNORED, IngestCounters
from edgemm_fleet.ingest.needless import needless
from edgemm_fleet.ingest.plausibility import implausible
from edgemm_fleet.ingest.presence import attest, awaited, begins, observe, spoke
from edgemm_fleet.ingest.reading import Heard, Incoming, Message, read
from edgemm_fleet.ingest.shedding import Misdeed, Shedding
from edgemm_fleet.ingest.stream_positions import acknowledge
from edgemm_fleet.ingest.unheard import UnheardReports
from edgemm_fleet.quiet_log import QuietLog
from edgemm_fleet.records.records import Presence, ReportedRecord
from edgemm_fleet.records.refused_messages import RefusedMessage
from edgemm_fleet.records.report_order import Verdict
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.store import Store, Transaction, actions, desired, devices, reported, streams
from edgemm_fleet.store.database import after_commit
from edgemm_fleet.store.hearing.authors import Author, authors_of

_MOST_KEYS = 10_000
"""That are kept."""
_log = logging.getLogger(__name__)


@dataclass
class _News:
    """What a batch brought that is to be acted on."""

    reports: list[Reported] = field(default_factory=list)
    """Those that are newer than all before, in the order in which they came."""
    told: set[str] = field(default_factory=set)
    """Devices that said what they act on."""
    connected: set[str] = field(default_factory=set)
    """Devices that have just come."""
    unproven: dict[str, Reported] = field(default_factory=dict)
    """The last report of each device that is there and of which nothing newer was heard, as its numbers are lower."""
    ignored: list[Reported] = field(default_factory=list)
    """All of these."""
    newest: dict[str, ReportedRecord] = field(default_factory=dict)
    """The newest report of each device that this batch brought."""


class Ingest:
    """Stores batches of messages of one fleet."""

    def __init__(
        self,
        store: Store,
        *,
        fleet: str,
        director: Director,
        runner: Runner,
        order: Callable[[list[str]], None] = lambda _: None,
        shedding: Shedding | None = None,
    ) -> None:
        self._store, self._fleet, self._director, self._runner, self._order = store, fleet, director, runner, order
        self._answering = Answering(director)
        self._keys: dict[str, Key] = {}
        self._quiet = QuietLog(_log)
        self._unproven = QuietLog(_log, most_of_one=1)
        self.shedding = shedding or Shedding()
        self.counters = IngestCounters()
        self.unheard = UnheardReports()

    def process(self, batch: Sequence[Incoming], *, now: float) -> dict[str, tuple[Ack, ...]]:
        """Store a batch and let rollouts react; return the acks to send, by device.

        Raises:
            EnvironmentFailure: it could not be stored; nothing of it was, and it may be given again.
        """
        with self._store.write() as tx:
            known, messages = self._read(tx, batch, now=now)
            news = self._hear(tx, messages, known, now=now)
            self._act(tx, news, messages, now=now)
            acks = self._streams(tx, messages, now=now)
            devices.seen(tx, {heard.device for heard in messages}, now=now)
            ordered = list(actions.ordered(tx, sorted(news.told))) if news.told else []
        self._ignore(news.ignored)
        self.unheard.told((one.message for one in messages if isinstance(one.message, Event)), now=now)
        if ordered:
            self._order(ordered)  # after the commit: an order names the start that was reported
        return acks

    def _read(self, tx: Transaction, batch: Sequence[Incoming], *, now: float) -> tuple[dict[str, Author], list[Heard]]:
        claimed = [(device, one) for one in batch if one.payload and (device := self._claimed(tx, one)) is not None]
        known = authors_of(tx, {device for device, _ in claimed})
        messages, refuse = [], partial(self._refuse, tx)
        passed_over, checked = needless(claimed, partial(self._checked, known, now=now))
        for place, (device, incoming) in enumerate(claimed):
            if place in passed_over:
                continue
            if device not in known:
                refuse(RefusedMessage.UNKNOWN_DEVICE, device, "not enrolled here")
                continue
            if not known[device].key:
                refuse(RefusedMessage.QUARANTINED, device, "its key in the database is unreadable: enrol it anew")
                continue
            try:
                message = checked.get(place) or self._message(incoming, device, known[device])
            except MessageError as err:
                refuse(RefusedMessage.MALFORMED, device, str(err))
                continue
            except TrustError as err:
                refuse(RefusedMessage.UNTRUSTED, device, str(err))
                continue
            if (found := implausible(message, now=now)) is not None:
                refuse(RefusedMessage.IMPLAUSIBLE, device, f"{type(message).__name__.lower()}: {found}")
                continue
            messages.append(Heard(device, message, incoming.payload, not incoming.retained))
        received = Counter(type(heard.message) for heard in messages)
        named = Counter({f"received_{kind.__name__.lower()}": number for kind, number in received.items()})
        if passed_over:
            named["received_reported"] += len(passed_over)
        after_commit(tx, partial(self.counters.add_all, named))
        return known, messages

    def _message(self, incoming: Incoming, device: str, author: Author) -> Message:
        return read(incoming, fleet=self._fleet, device=device, key=self._key(author))

    def _checked(self, known: Mapping[str, Author], device: str, incoming: Incoming, *, now: float) -> Message | None:
        """Return a message that is to be believed; None: any other."""
        if device not in known or not known[device].key:
            return None
        try:
            message = self._message(incoming, device, known[device])
        except (MessageError, TrustError):
            return None
        return None if implausible(message, now=now) else message

    def _claimed(self, tx: Transaction, incoming: Incoming) -> str | None:
        try:
            return incoming.device(self._fleet)
        except MessageError as err:
            self._refuse(tx, RefusedMessage.MALFORMED, None, str(err))
            return None

    def _refuse(self, tx: Transaction, why: RefusedMessage, device: str | None, detail: str) -> None:
        """Count a message, and hold it against its device: once, however often its batch is given."""
        after_commit(tx, partial(self._refused, why, device, detail))

    def _refused(self, why: RefusedMessage, device: str | None, detail: str) -> None:
        self.counters.refuse(why)
        said = "ingest_refused why=%s device=%s detail=%r"
        self._quiet.warning(device or "", said, why, device, detail)
        if device is not None:
            self.shedding.note(device, Misdeed.REFUSED)

    def _key(self, device: Author) -> Key:
        if device.key_id not in self._keys:
            if len(self._keys) >= _MOST_KEYS:
                del self._keys[next(iter(self._keys))]
            self._keys[device.key_id] = signing.key_from_document(device.key)
        return self._keys[device.key_id]

    def _hear(self, tx: Transaction, messages: Sequence[Heard], known: Mapping[str, Author], *, now: float) -> _News:
        """Keep reports, and what messages say of their devices' presence, in the order in which they came."""
        news = _News()
        before = {device: found.presence for device, found in known.items()}
        presences = dict(before)
        speakers = {heard.device for heard in messages if isinstance(heard.message, Reported)}
        reports = reported.ReportBatch(tx, speakers, now=now)
        for heard in messages:
            device, message, presence = heard.device, heard.message, presences[heard.device]
            if not heard.live and awaited(presence):  # it may be of before the enrolment; an answer will be live
                news.connected.add(device)
                continue
            match message:
                case Status():
                    presences[device] = after = observe(presence, message, now=now)
                    if after.duplicate_at != presence.duplicate_at:
                        after_commit(tx, partial(self.counters.add, DUPLICATE))
                        said = "duplicate_identity device=%s boots=%s,%s"
                        self._quiet.warning(device, said, device, after.boot, message.boot)
                    elif after is not presence and message.online:
                        news.connected.add(device)
                case Reported():
                    presences[device] = self._hear_report(reports, message, presence, news, live=heard.live, now=now)
                case Event() if heard.live and (begun := begins(presence, message, now=now)) is not None:
                    key = streams.StreamKey(device, message.boot, Stream.EVENT)
                    heard_before = streams.positions_of(tx, [key]).get(key, streams.NOWHERE).highest
                    presences[device] = begun if message.sequence > heard_before else presence
                case _:
                    presences[device] = spoke(presence, live=heard.live, now=now)
        reports.write()
        news.newest = reports.newest()
        changed = {device: presence for device, presence in presences.items() if presence is not before[device]}
        devices.set_presences(tx, changed, before=before)
        return news

    def _hear_report(
        self,
        reports: reported.ReportBatch,
        report: Reported,
        presence: Presence,
        news: _News,
        *,
        live: bool,
        now: float,
    ) -> Presence:
        device = report.device
        news.told.add(device)
        if report.sequence == 1:  # it comes with a connection, whose status may have come before
            news.connected.add(device)
        verdict = reports.hear(report)
        if verdict is Verdict.NEWER:
            news.reports.append(report)
            news.unproven.pop(device, None)
            return attest(presence, report, live=live, now=now)
        if verdict is Verdict.OLDER and live:
            news.unproven[device] = report
            news.ignored.append(report)
        return spoke(presence, live=live, now=now)

    def _ignore(self, told_nothing: Sequence[Reported]) -> None:
        """Say that reports of devices that are there tell nothing."""
        self.counters.add(IGNORED, len(told_nothing))
        said = "reported_ignored device=%s boot_count=%d sequence=%d: another start of it told a higher number"
        for report in told_nothing:
            self._unproven.warning(report.device, said, report.device, *report.order)

    def _act(self, tx: Transaction, news: _News, messages: Sequence[Heard], *, now: float) -> None:
        for report in news.reports:
            finished = [actions.finish(tx, report.device, result, now=now) for result in report.actions]
            if any(finished):
                self._director.write(tx, [report.device], now=now)
        changed = {report.device for report in news.reports} | self._answers(tx, news, messages, now=now)
        if changed:
            self._runner.react(tx, sorted(changed), now=now, newest=news.newest)

    def _answers(self, tx: Transaction, news: _News, messages: Sequence[Heard], *, now: float) -> set[str]:
        """Answer what devices say that they act on; return those that refuse what they are told, or no longer do."""
        spoke_up = sorted(news.told | news.connected)
        current = desired.of(tx, spoke_up)
        newest = news.newest | reported.of(tx, [device for device in spoke_up if device not in news.newest])
        answered = [
            device
            for device in spoke_up
            if device in news.unproven or not settled(current.get(device), newest.get(device), now=now)
        ]
        changed = {
            device
            for device in answered
            if self._answering.heard(
                tx, device, now=now, connected=device in news.connected, unproven=news.unproven.get(device)
            )
        }
        events = [(heard.device, heard.message) for heard in messages if isinstance(heard.message, Event)]
        refusing = [(device, event) for device, event in events if event.cause in REFUSALS]
        return changed | {device for device, event in refusing if self._answering.refused(tx, event, now=now)}

    def _streams(self, tx: Transaction, messages: Sequence[Heard], *, now: float) -> dict[str, tuple[Ack, ...]]:
        streams.add_events(tx, [one.message for one in messages if isinstance(one.message, Event)], now=now)
        return acknowledge(tx, messages, now=now)
