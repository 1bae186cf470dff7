"""The examination of the manager: the facts looked at one by one, and the findings in plain words. Pure.

Each finding says what is wrong, as far as is known why, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgemm.times import span
from edgemm_fleet.health.health_facts import DatabaseFacts, HealthFacts
from edgemm_fleet.health.health_findings import Finding, FindingName, notice, urgent
from edgemm_fleet.records.expiries import Expiry

URGENT_END_S = 7 * 86_400.0
"""What ends within so long makes the manager unhealthy; it is shown long before (`records/expiries.py`)."""
_GONE_S = 5.0
_BEHIND_S = 5.0
_OUTBOX_BEHIND_S = 60.0
_HANGS_S = 2.0
_SLOW_COMMIT_S = 0.25
_SLOW_WORK_S = 0.5
_TICK_LATE_S = 15.0
_FAILING_S = 10.0
_FULL, _NEARLY_FULL = 0.95, 0.90
_PLENTY_BYTES = 20 * 10**9
"""So much that is free is enough, whatever share of a large disk it is."""
_MANY_REFUSE = 0.05
_CONNECTIONS_SHARE = 0.95
_RENEWED_BY = 0.25
"""The manager signs what it signs by itself when half of its life is left; by a quarter it should have."""
_MOST_ERROR = 200


def findings(facts: HealthFacts) -> list[Finding]:
    """Return what is to be said, the urgent first, causes before what follows from them."""
    found = [one for look in _LOOKS for one in look(facts)]
    return sorted(found, key=lambda one: not one.urgent)


def _clock(facts: HealthFacts) -> Iterator[Finding]:
    if not facts.clock_plausible:
        yield urgent(
            FindingName.CLOCK_WRONG,
            "the clock of this machine cannot be right: nothing is stored, signed or judged by it",
            "set it: timedatectl set-ntp true",
        )
    elif not facts.clock_settled:
        yield notice(
            FindingName.CLOCK_LEAPT,
            "the clock of this machine leapt; the leap is believed once it has lasted a minute",
            "see why: timedatectl, and the log of its time service",
        )


def _database(facts: HealthFacts) -> Iterator[Finding]:
    database = facts.database
    if database.failing_s is not None:
        yield urgent(
            FindingName.DATABASE_FAILS,
            f"the database has failed for {span(database.failing_s)}: {_short(database.error)}",
            "make it work again; what devices send waits, and nothing is lost: docs/databases.md",
        )
    elif database.under_way_s >= _HANGS_S:
        yield urgent(
            FindingName.DATABASE_HANGS,
            f"a write to the database has been waiting for {span(database.under_way_s)}: another process holds it, "
            "or its disk hangs",
            "find who holds it: fuser -v FOLDER/fleet.db" if database.is_file else "look at pg_stat_activity, pg_locks",
        )
    elif (slow := _slowness(database)) is not None:
        yield urgent(FindingName.DATABASE_SLOW, slow, "give it a faster disk, or PostgreSQL: docs/capacity.md")


def _slowness(database: DatabaseFacts) -> str | None:
    if database.commits.mean >= _SLOW_COMMIT_S:
        return f"database commits take {_ms(database.commits.mean)}"
    if database.work.mean >= _SLOW_WORK_S:
        return f"what is written to the database takes {_ms(database.work.mean)} each time"
    return None


def _disk(facts: HealthFacts) -> Iterator[Finding]:
    disk = facts.disk
    if disk is None or disk.free_bytes >= _PLENTY_BYTES or disk.used_share < _NEARLY_FULL:
        return
    text = f"the disk of the fleet folder is {int(disk.used_share * 100)} % full: {_size(disk.free_bytes)} left"
    advice = "make room: old fleet-*.db copies beside the database, or a shorter --keep-telemetry"
    yield Finding(name=FindingName.DISK_FULL, urgent=disk.used_share >= _FULL, text=text, next=advice)


def _broker(facts: HealthFacts) -> Iterator[Finding]:
    broker = facts.broker
    if broker.gone_s is None or broker.gone_s < _GONE_S:
        return
    if broker.turned_away:
        text = f"the broker at {broker.url} has not let the manager in for {span(broker.gone_s)}"
        advice = "check the manager's login there; the broker's log says why"
    else:
        text = f"the broker at {broker.url} has been gone for {span(broker.gone_s)}"
        advice = "start it, or see what is between; devices keep what they have to say, and rollouts wait"
    yield urgent(FindingName.BROKER_GONE, text, advice)


def _ingest(facts: HealthFacts) -> Iterator[Finding]:
    ingest = facts.ingest
    if ingest.behind_s < _BEHIND_S:
        return
    text = f"ingest is behind by {span(ingest.behind_s)}, {ingest.waiting:,} messages wait: {_because(facts)}"
    yield urgent(FindingName.INGEST_BEHIND, text, "nothing is lost while devices can wait; docs/capacity.md")


def _because(facts: HealthFacts) -> str:
    """Return why messages are not stored, as far as is known."""
    database = facts.database
    if not facts.clock_plausible:
        return "the clock cannot be right"
    if database.failing_s is not None:
        return "the database fails"
    if database.under_way_s >= _HANGS_S:
        return "the database hangs"
    if (slow := _slowness(database)) is not None:
        return slow
    if database.waits.mean >= _SLOW_COMMIT_S:
        return f"the writer is busy with other things, {_ms(database.waits.mean)} each time"
    return f"more comes than this machine stores, {facts.ingest.lately.rate:,.0f} messages a second"


def _outbox(facts: HealthFacts) -> Iterator[Finding]:
    if facts.outbox_behind_s >= _OUTBOX_BEHIND_S and facts.broker.gone_s is None:
        yield urgent(
            FindingName.OUTBOX_BEHIND,
            f"the outbox has been behind for {span(facts.outbox_behind_s)}: {facts.fleet.untold:,} devices are still "
            "to be told something",
            "see whether the broker confirms what it is sent: its log, and its CPU",
        )


def _scheduler(facts: HealthFacts) -> Iterator[Finding]:
    if facts.tick_age_s >= _TICK_LATE_S and facts.clock_plausible:
        cause = ""
        if facts.database.failing_s is not None:
            cause = ": the database fails"
        elif facts.database.under_way_s >= _HANGS_S:
            cause = ": the database hangs"
        yield urgent(
            FindingName.SCHEDULER_HANGS,
            f"deadlines and waits of rollouts have not been looked at for {span(facts.tick_age_s)}{cause}",
            "remove the cause" if cause else "the log says more; if it goes on, restart the manager",
        )


def _workers(facts: HealthFacts) -> Iterator[Finding]:
    if facts.database.failing_s is not None or facts.database.under_way_s >= _HANGS_S or not facts.clock_plausible:
        return  # they follow from it
    for worker in facts.workers:
        if worker.failing_s is not None and worker.failing_s >= _FAILING_S:
            text = f"{worker.name} has failed for {span(worker.failing_s)}: {_short(worker.error)}"
        elif worker.failing_s is None and worker.quiet_s >= worker.most_quiet_s:
            text = f"{worker.name} has done nothing for {span(worker.quiet_s)}"
        else:
            continue
        yield urgent(FindingName.WORKER_FAILS, text, "the log says more; if it goes on, restart the manager")


def _endings(facts: HealthFacts) -> Iterator[Finding]:
    for one in sorted(facts.endings, key=lambda one: one.ends_at):
        if ends_urgently(one, facts.now):
            name = FindingName.CERTIFICATE_ENDS if one.kind == "certificate" else FindingName.SIGNATURE_ENDS
            yield urgent(name, f"the {one.kind} {one.name} {_ends(one.ends_at, facts.now)}", one.advice)


def ends_urgently(one: Expiry, now: float) -> bool:
    """Tell whether an ending makes the manager unhealthy; tokens of people and of enrolments end as they were made."""
    return one.kind in {"certificate", "signature"} and one.ends_at - now < URGENT_END_S


def _signing(facts: HealthFacts) -> Iterator[Finding]:
    for role in facts.signed:
        if facts.clock_plausible and role.ends_at - facts.now < _RENEWED_BY * role.lifetime_s:
            yield urgent(
                FindingName.SIGNING_HANGS,
                f"the manager has not signed {role.name} anew, which {_ends(role.ends_at, facts.now)}: devices refuse "
                "new versions then",
                "the log says why, such as a missing key: edgemm fleet keys list --folder FOLDER",
            )


def _api(facts: HealthFacts) -> Iterator[Finding]:
    if facts.connections >= _CONNECTIONS_SHARE * facts.most_connections:
        yield urgent(
            FindingName.HTTP_FULL,
            f"the API has {facts.connections:,} of {facts.most_connections:,} connections: newer ones push out others",
            "put nginx in front: docs/nginx.md",
        )


def _fleet(facts: HealthFacts) -> Iterator[Finding]:
    fleet = facts.fleet
    devices = fleet.online + fleet.offline
    if fleet.unreadable:
        yield urgent(
            FindingName.ROWS_UNREADABLE,
            f"{fleet.unreadable:,} entries of the database cannot be read, and are passed over",
            "edgemm fleet devices list names them; a backup may have them whole",
        )
    if fleet.refusing:
        text = f"{fleet.refusing:,} of {devices:,} devices refuse what they are told"
        many = fleet.refusing >= _MANY_REFUSE * devices
        advice = "edgemm fleet devices list says which; devices show DEVICE says why"
        yield Finding(name=FindingName.DEVICES_REFUSE, urgent=many, text=text, next=advice)
    if fleet.duplicates:
        text = f"{fleet.duplicates:,} devices were there twice with one identity, as a copied card is"
        yield notice(FindingName.DEVICES_DUPLICATE, text, "enrol one of each pair anew; devices list names them")
    if fleet.cut_off:
        text = f"{fleet.cut_off:,} devices are shut out for a while: they sent what no honest device does"
        yield notice(FindingName.DEVICES_CUT_OFF, text, "devices list names them; look at what runs there")


def _ends(at: float, now: float) -> str:
    return f"ends in {span(at - now)}" if at > now else f"ended {span(now - at)} ago"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _short(text: str) -> str:
    return text if len(text) <= _MOST_ERROR else f"{text[:_MOST_ERROR]}…"


def _size(count: int) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**9 else f"{count / 10**6:.0f} MB"


_LOOKS = (_clock, _database, _disk, _broker, _ingest, _outbox, _scheduler, _workers, _endings, _signing, _api, _fleet)
