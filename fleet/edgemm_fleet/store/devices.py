"""The store's table of devices: their keys, labels, hashed credentials and presence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import convert
from sqlalchemy import ColumnElement, bindparam, func, select, update

from edgemm.errors import ConflictError, NotFoundError
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.filters.known_facts import ENROLLED, REPORTED, of_labels, of_machine, of_report
from edgemm_fleet.records import json_text
from edgemm_fleet.records.records import Device, Page, Presence
from edgemm_fleet.records.rollout_plan import Selector
from edgemm_fleet.store import paging, reported
from edgemm_fleet.store.activity.census import census
from edgemm_fleet.store.database import Transaction, count_up_to
from edgemm_fleet.store.dialects.portable import add_one, listed
from edgemm_fleet.store.dialects.time_limit import soon
from edgemm_fleet.store.facts import device_facts
from edgemm_fleet.store.facts.fact_queries import FactQuery
from edgemm_fleet.store.quarantine import quarantine
from edgemm_fleet.store.schema import desired
from edgemm_fleet.store.schema import devices as table

_PRESENCE = Presence.__struct_fields__
_PARTS = _LABELS, _KEY, _TIMES, _OF_PRESENCE = ("labels", "key", "times", "presence")
_SET_PRESENCE = update(table).where(table.c.id == bindparam("d")).values({n: bindparam(n) for n in _PRESENCE})
_AT_ONCE = 500
_LONGEST_S = 60.0
"""So long may all devices that a selector means be looked for: a million of them, on a busy machine."""
Value = TypeVar("Value")


def add(tx: Transaction, device: Device, *, bearer_hash: str, broker_hash: str) -> None:
    """Record a device that enrolled; the hashes are of its HTTP bearer and its broker password.

    Raises:
        ConflictError: the id or the bearer is taken.
    """
    values = {name: getattr(device, name) for name in ("id", "name", "key_id", "token_id", "runtime", "platform")}
    values |= {"labels_json": _json(device.labels), "key_json": _json(device.key), "enrolled_at": device.enrolled_at}
    if not add_one(tx, table, values | {"bearer_hash": bearer_hash, "broker_hash": broker_hash}):
        raise ConflictError(f"device {device.id}: already enrolled; remove it first")
    census(tx).change(devices=1)
    _put_facts(tx, device)


def get(tx: Transaction, device: str) -> Device:
    """Return a device, removed or not.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = tx.execute(select(table).where(table.c.id == device)).one_or_none()
    if row is None:
        raise _unknown(device)
    return _read(tx, row)


def get_live(tx: Transaction, device: str) -> Device:
    """Return a device that is enrolled and not removed.

    Raises:
        NotFoundError: there is none of this id.
    """
    found = find(tx, device)
    if found is None:
        raise _unknown(device)
    return found


def find(tx: Transaction, device: str) -> Device | None:
    """Return a device that is enrolled and not removed, or None."""
    row = tx.execute(select(table).where(table.c.id == device, table.c.removed_at.is_(None))).one_or_none()
    return None if row is None else _read(tx, row)


def live(tx: Transaction, ids: Iterable[str]) -> dict[str, Device]:
    """Return those of these devices that are enrolled and not removed, by id."""
    query = select(table).where(listed(table.c.id, sorted(set(ids))), table.c.removed_at.is_(None))
    return {row.id: _read(tx, row) for row in tx.execute(query)}


def find_by_bearer(tx: Transaction, bearer_hash: str) -> Device | None:
    """Return the device with this HTTP bearer if it is not removed."""
    query = select(table).where(table.c.bearer_hash == bearer_hash, table.c.removed_at.is_(None))
    row = tx.execute(query).one_or_none()
    return None if row is None else _read(tx, row)


def find_by_enrolment(tx: Transaction, *, token_id: str, key_id: str) -> Device | None:
    """Return the device that enrolled with this token and key, removed or not."""
    query = select(table).where(table.c.token_id == token_id, table.c.key_id == key_id)
    row = tx.execute(query.order_by(table.c.enrolled_at.desc()).limit(1)).one_or_none()
    return None if row is None else _read(tx, row)


def find_by_key(tx: Transaction, key_id: str) -> Device | None:
    """Return the device that holds this key, removed or not."""
    query = select(table).where(table.c.key_id == key_id).order_by(table.c.enrolled_at.desc()).limit(1)
    row = tx.execute(query).one_or_none()
    return None if row is None else _read(tx, row)


def readmit(tx: Transaction, device: Device, *, bearer_hash: str, broker_hash: str) -> None:
    """Let a device that is known by its id and key in again, with new rights; the old ones end.

    Its presence is forgotten: only what it says from now on counts (`edgemm_fleet.ingest.presence.awaited`).
    """
    values = {name: getattr(device, name) for name in ("name", "token_id", "runtime", "platform", "enrolled_at")}
    values |= {"labels_json": _json(device.labels), "key_json": _json(device.key), "removed_at": None}
    values |= {"bearer_hash": bearer_hash, "broker_hash": broker_hash}
    presence = Presence(doubted_at=device.enrolled_at)
    values |= {name: getattr(presence, name) for name in _PRESENCE}
    known = (table.c.id == device.id) & (table.c.key_id == device.key_id)
    before = tx.execute(select(table.c.online, table.c.removed_at).where(known)).one_or_none()
    tx.execute(update(table).where(known).values(**values))
    if before is not None:
        census(tx).change(devices=int(before.removed_at is not None), online=-int(before.online))
    for part in _PARTS:
        quarantine(tx).clear(device.id, part)
    _put_facts(tx, device)


def page(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[Device]:
    """List the devices that are not removed, by id."""
    query = select(table).where(table.c.removed_at.is_(None))
    return paging.ascending(tx, query, key=table.c.id, after=after, limit=limit, read=lambda row: _read(tx, row))


def page_matching(
    tx: Transaction, query: FactQuery, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> Page[Device]:
    """List the devices that a filter means by id; a page may have fewer than asked for, and yet not be the last."""
    ids, following = query.page(after=after, limit=paging.clamp(limit))
    found = live(tx, ids)
    return Page(items=tuple(found[one] for one in ids if one in found), next=following)


def matching(tx: Transaction, selector: Selector, *, model: str | None, now: float) -> Iterator[Device]:
    """Yield the devices that a selector means, by id; those removed, or of labels that cannot be read, never are.

    Args:
        tx: the transaction.
        selector: which devices.
        model: the one that a term of its filter about a model means.
        now: what `seen` is counted from, in seconds since the epoch.

    Raises:
        FilterError: its filter cannot be read.
        BadRequestError: it takes too long.
    """
    wanted, after = FactQuery(tx, selector.expression(model=model), now=now), None
    end_s = time.monotonic() + _LONGEST_S
    while True:  # page by page: whoever looks for one device of a million reads no others
        with soon(tx, seconds=max(0.0, end_s - time.monotonic())):
            ids, after = wanted.page(after=after, limit=_AT_ONCE)
        query = select(table).where(table.c.id.in_(ids), table.c.removed_at.is_(None))
        for row in tx.execute(query.order_by(table.c.id)).all():
            if _part(tx, row, _LABELS, _labels) is not None:
                yield _read(tx, row)
        if after is None:
            return


def page_meant(
    tx: Transaction, selector: Selector, *, model: str, now: float, after: str | None, limit: int
) -> tuple[list[str], str | None]:
    """Return ids of devices that `matching` has, those behind `after`; and where to go on, None: at the end.

    They may be fewer than `limit` without that being the end. Raises as `matching`.
    """
    with soon(tx):
        ids, after = FactQuery(tx, selector.expression(model=model), now=now).page(after=after, limit=limit)
    return readable(tx, ids), after


def readable(tx: Transaction, ids: Iterable[str]) -> list[str]:
    """Return those of these devices that are enrolled, and whose labels can be read, by id."""
    query = select(table.c.id, table.c.labels_json).where(listed(table.c.id, sorted(set(ids))))
    rows = tx.execute(query.where(table.c.removed_at.is_(None)).order_by(table.c.id))
    return [row.id for row in rows if _part(tx, row, _LABELS, _labels) is not None]


def enrolled(tx: Transaction, ids: Iterable[str]) -> set[str]:
    """Return those of these devices that are enrolled and not removed."""
    query = select(table.c.id).where(listed(table.c.id, sorted(set(ids))), table.c.removed_at.is_(None))
    return set(tx.execute(query).scalars())


def are_few(tx: Transaction, selector: Selector, *, most: int) -> bool:
    """Tell whether a selector means no more devices than this, as far as that is seen without a search."""
    if selector.devices is not None and len(selector.devices) <= most:
        return True
    enrolled = select(table.c.id).where(table.c.removed_at.is_(None)).limit(most + 1)
    return len(tx.execute(enrolled).all()) <= most


def unknown(tx: Transaction, selector: Selector) -> list[str]:
    """Return the devices that a selector names and that are not enrolled here, by id."""
    named = set(selector.devices or ())
    return sorted(named - live(tx, named).keys())


def counts(tx: Transaction) -> dict[bool, int]:
    """Return how many devices are online (True) and offline (False), without those removed."""
    query = select(table.c.online, func.count()).where(table.c.removed_at.is_(None)).group_by(table.c.online)
    return {True: 0, False: 0} | {bool(online): number for online, number in tx.execute(query)}


def duplicates(tx: Transaction, *, most: int) -> int:
    """Return of how many devices two were ever alive at one time, without those removed; `most` if they are more."""
    noticed = table.c.duplicate_at.is_not(None) & table.c.removed_at.is_(None)
    return count_up_to(tx, select(table.c.id).where(noticed), most=most)


def broker_hashes(tx: Transaction) -> list[tuple[str, str]]:
    """Return (id, hash of the broker password) of every device that may log in, by id."""
    query = select(table.c.id, table.c.broker_hash).where(table.c.removed_at.is_(None)).order_by(table.c.id)
    return [(row.id, row.broker_hash) for row in tx.execute(query)]


def silent_since(tx: Transaction, moment: float, *, limit: int) -> list[str]:
    """Return devices, without those removed, that were not heard of since a time."""
    heard = func.coalesce(table.c.last_seen_at, 0.0)
    query = select(table.c.id).where(table.c.removed_at.is_(None), heard < moment).order_by(table.c.id)
    return list(tx.execute(query.limit(limit)).scalars())


def broker_hash(tx: Transaction, device: str) -> str | None:
    """Return the hash of one device's broker password; None if it may not log in."""
    query = select(table.c.broker_hash).where(table.c.id == device, table.c.removed_at.is_(None))
    return tx.execute(query).scalar()


def set_labels(tx: Transaction, device: str, labels: dict[str, str]) -> None:
    """Replace a device's labels.

    Raises:
        NotFoundError: there is no such device.
    """
    _change(tx, device, labels_json=_json(labels))
    device_facts.put(tx, device, {FactSubject.LABEL}, of_labels(labels))
    quarantine(tx).clear(device, _LABELS)


def remove(tx: Transaction, device: str, *, now: float) -> None:
    """End all rights of a device: key, bearer and broker password.

    Raises:
        NotFoundError: there is no such device.
    """
    was_online = tx.execute(select(table.c.online).where(table.c.id == device)).scalar()
    _change(tx, device, removed_at=now, online=False)
    census(tx).change(devices=-1, online=-int(was_online or False))
    device_facts.clear(tx, device)


def set_presence(tx: Transaction, device: str, presence: Presence, *, before: Presence | None = None) -> None:
    """Write whether and how a device is connected; `before`, where the caller knows it, is not looked up."""
    if before is None:
        was_online = bool(tx.execute(select(table.c.online).where(table.c.id == device)).scalar())
        before = msgspec.structs.replace(presence, online=was_online)
    set_presences(tx, {device: presence}, before={device: before})


def set_presences(tx: Transaction, presences: Mapping[str, Presence], *, before: Mapping[str, Presence]) -> None:
    """Write whether and how devices are connected; `before` has what the database has of each."""
    if presences:
        online = sum(int(one.online) - int(before[device].online) for device, one in presences.items())
        census(tx).change(online=online)
        rows = [{"d": device} | {n: getattr(one, n) for n in _PRESENCE} for device, one in presences.items()]
        tx.execute(_SET_PRESENCE, rows)


def all_offline(tx: Transaction) -> None:
    """Note that no device is connected, as after a start of the embedded broker."""
    said = table.c.online | table.c.doubted_at.is_not(None)
    tx.execute(update(table).where(said).values(online=False, doubted_at=None))
    census(tx).change(online=-census(tx).online)


def silent_in_doubt(tx: Transaction, *, doubted_before: float, told_before: float, limit: int) -> list[Device]:
    """Return devices whose presence is in doubt since before a time, and that were told something since; or never are.

    What they were told last was before another time, so that their answer would be here.
    """
    told = desired.c.unsent.is_(False) & (desired.c.sent_at >= table.c.doubted_at) & (desired.c.sent_at < told_before)
    joined = select(table).outerjoin(desired, desired.c.device == table.c.id)
    heard = table.c.boot.is_not(None)
    query = joined.where(heard, table.c.doubted_at < doubted_before, desired.c.device.is_(None) | told)
    return [_read(tx, row) for row in tx.execute(query.order_by(table.c.doubted_at).limit(limit))]


def seen(tx: Transaction, ids: Iterable[str], *, now: float) -> None:
    """Note that these devices were heard of."""
    wanted = sorted(set(ids))
    if wanted:
        tx.execute(update(table).where(listed(table.c.id, wanted)).values(last_seen_at=now))


def _put_facts(tx: Transaction, device: Device) -> None:
    """Have a device that enrolled, maybe again, have the facts that are known of it."""
    known = of_labels(device.labels) | of_machine(device.platform, device.runtime)
    report = reported.find(tx, device.id)
    if report is not None:
        known = {fact for fact in known if fact.subject is not FactSubject.RUNTIME} | of_report(report.reported)
    device_facts.put(tx, device.id, ENROLLED | REPORTED, known)


def _change(tx: Transaction, device: str, **values: Any) -> None:
    live: ColumnElement[bool] = table.c.removed_at.is_(None)
    if not tx.execute(update(table).where(table.c.id == device, live).values(**values)).rowcount:
        raise NotFoundError(f"no device {device[:80]!r} in this fleet: `edgemm fleet devices` lists them")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _read(tx: Transaction, row: Any) -> Device:
    """Return a device; what of it cannot be read is noted, and left empty, so that the device is seen all the same."""
    return Device(
        id=row.id,
        name=str(row.name),
        labels=_part(tx, row, _LABELS, _labels) or {},
        key=_part(tx, row, _KEY, lambda row: json_text.read(row.key_json, dict[str, Any])) or {},
        key_id=str(row.key_id),
        token_id=str(row.token_id),
        runtime=str(row.runtime),
        platform=str(row.platform),
        enrolled_at=_part(tx, row, _TIMES, lambda row: convert(row.enrolled_at, float)) or 0.0,
        removed_at=row.removed_at,
        presence=_part(tx, row, _OF_PRESENCE, _presence) or Presence(),
    )


def _labels(row: Any) -> dict[str, str]:
    found: dict[str, str] = json_text.read(row.labels_json, dict[str, str])
    return found


def _presence(row: Any) -> Presence:
    return convert({name: getattr(row, name) for name in _PRESENCE}, Presence)


def _part(tx: Transaction, row: Any, part: str, read: Callable[[Any], Value]) -> Value | None:
    return quarantine(tx).reader(part, read, device=lambda row: str(row.id))(row)


def _unknown(device: str) -> NotFoundError:
    return NotFoundError(f"no device {device[:80]!r} in this fleet: `edgemm fleet devices` lists them")
