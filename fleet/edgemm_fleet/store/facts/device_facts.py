"""The facts of each device that is enrolled and not removed: one row a device and fact, in two orders.

Each fact (`label site plant-7`, `version digits 1.2.0`) is written once, in `facts`, and is there as long as some
device has it. `labels_json` and `reported_json` stay what is shown; whoever changes them changes the facts in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, and_, bindparam, delete, exists, select

from edgemm_fleet.filters import DeviceFacts
from edgemm_fleet.filters.closures import FactKey
from edgemm_fleet.filters.expressions import FactSubject
from edgemm_fleet.filters.known_facts import Fact
from edgemm_fleet.filters.ranks import rank
from edgemm_fleet.store.dialects import portable
from edgemm_fleet.store.dialects.portable import listed
from edgemm_fleet.store.facts.fact_tables import device_facts, devices, facts

_Item = TypeVar("_Item")
_AT_ONCE = 200
"""How many facts, or devices, one statement names."""
_LIVE = devices.c.removed_at.is_(None)


_SAME = and_(facts.c.subject == bindparam("s"), facts.c.name == bindparam("n"), facts.c.value == bindparam("v"))
# Written once: a report costs more time in making statements than in running them.
_NUMBER = select(facts.c.fact).where(_SAME)
_TAKE = delete(device_facts).where(device_facts.c.fact == bindparam("f"), device_facts.c.device == bindparam("d"))
_FORGET = delete(facts).where(facts.c.fact == bindparam("f"), ~exists().where(device_facts.c.fact == facts.c.fact))
_FACTS = select(device_facts.c.device, facts.c.fact, facts.c.subject, facts.c.name, facts.c.value).select_from(
    device_facts.join(facts, facts.c.fact == device_facts.c.fact)
)


def put(tx: Connection, device: str, subjects: Collection[FactSubject], wanted: Collection[Fact]) -> None:
    """Have a device's facts of some subjects be these; those of a device that was removed stay none."""
    put_all(tx, {device: wanted}, subjects)


def put_all(tx: Connection, wanted: Mapping[str, Collection[Fact]], subjects: Collection[FactSubject]) -> None:
    """Have the facts of some subjects be these, for each of these devices."""
    there = _of_all(tx, wanted)
    if unseen := [device for device in wanted if device not in there]:
        live = select(devices.c.id).where(listed(devices.c.id, unseen), _LIVE)
        there |= {device: {} for device in tx.execute(live).scalars()}
    new, gone = dict[Fact, list[str]](), list[dict[str, object]]()
    for device, known in there.items():
        for fact in wanted[device]:
            if fact not in known:
                new.setdefault(fact, []).append(device)
        for fact, number in known.items():
            if fact.subject in subjects and fact not in wanted[device]:
                gone.append({"f": number, "d": device})
    _change(tx, new, gone)


def change_all(tx: Connection, changed: Mapping[str, tuple[Collection[Fact], Collection[Fact]]]) -> None:
    """Have each of these enrolled devices have other facts than before: (those that it has, those that it is to have).

    As `put_all`, where the caller knows what is there: nothing is read but the numbers of those that change.
    """
    new, old = dict[Fact, list[str]](), dict[Fact, list[str]]()
    for device, (before, after) in changed.items():
        for fact in after:
            if fact not in before:
                new.setdefault(fact, []).append(device)
        for fact in before:
            if fact not in after:
                old.setdefault(fact, []).append(device)
    gone = list[dict[str, object]]()
    for fact, ids in sorted(old.items()):
        number = tx.execute(_NUMBER, _asked(fact)).scalar()
        gone += [{"f": number, "d": device} for device in ids if number is not None]
    _change(tx, new, gone)


def _change(tx: Connection, new: Mapping[Fact, Sequence[str]], gone: Sequence[Mapping[str, object]]) -> None:
    for fact, ids in sorted(new.items()):
        number = _number(tx, fact)
        portable.add_missing(tx, device_facts, [{"fact": number, "device": device} for device in ids])
    if gone:
        tx.execute(_TAKE, gone)
        tx.execute(_FORGET, [{"f": number} for number in sorted({one["f"] for one in gone}, key=str)])


def clear(tx: Connection, device: str) -> None:
    """Forget a device's facts: it is removed."""
    if there := list(_of(tx, device).values()):
        _drop(tx, [device], there)


def put_outcomes(tx: Connection, model: str, outcomes: dict[str, str | None]) -> None:
    """Have the last update of a model have ended so on these devices; None: without a failure, or not yet."""
    of_model = select(facts.c.fact).where(facts.c.subject == FactSubject.OUTCOME.value, facts.c.name == model)
    if known := list(tx.execute(of_model).scalars()):
        _drop(tx, list(outcomes), known)
    failed = {device: said for device, said in outcomes.items() if said is not None}
    for outcome in sorted(set(failed.values())):
        those = [device for device, said in failed.items() if said == outcome]
        number = _number(tx, Fact(FactSubject.OUTCOME, model, outcome))
        for part in _parts(those):
            live = select(devices.c.id).where(devices.c.id.in_(part), _LIVE)
            rows = [{"fact": number, "device": device} for device in tx.execute(live).scalars()]
            portable.add_missing(tx, device_facts, rows)


def of(tx: Connection, device: str) -> DeviceFacts | None:
    """Return what filters look at in one device; None: it is not enrolled, or was removed."""
    query = select(devices.c.online, devices.c.last_seen_at).where(devices.c.id == device, _LIVE)
    row = tx.execute(query).one_or_none()
    if row is None:
        return None
    values: dict[FactKey, tuple[str, ...]] = {}
    for subject, name, value in sorted(_of(tx, device)):
        values[subject, name] = (*values.get((subject, name), ()), value)
    return DeviceFacts(id=device, online=bool(row.online), seen_at=row.last_seen_at, values=values)


def names(tx: Connection, subject: FactSubject, *, limit: int) -> list[str]:
    """Return the names of facts that some device has, such as those of all labels, in order."""
    query = select(facts.c.name).distinct().where(facts.c.subject == subject.value)
    return list(tx.execute(query.order_by(facts.c.name).limit(limit)).scalars())


def values_of(tx: Connection, subject: FactSubject, name: str, *, limit: int) -> list[str]:
    """Return the values of a fact that some device has, in order."""
    query = select(facts.c.value).where(facts.c.subject == subject.value, facts.c.name == name)
    return list(tx.execute(query.order_by(facts.c.value).limit(limit)).scalars())


def _of(tx: Connection, device: str) -> dict[Fact, int]:
    return _of_all(tx, [device]).get(device, {})


def _of_all(tx: Connection, ids: Iterable[str]) -> dict[str, dict[Fact, int]]:
    """Return the facts of devices, each with its number; those without any are missing."""
    found: dict[str, dict[Fact, int]] = {}
    for device, number, subject, name, value in tx.execute(_FACTS.where(listed(device_facts.c.device, sorted(ids)))):
        found.setdefault(device, {})[Fact(FactSubject(subject), name, value)] = number
    return found


def _number(tx: Connection, fact: Fact) -> int:
    """Return the number of a fact, which is written where it is not there yet."""
    asked = _asked(fact)
    if (number := tx.execute(_NUMBER, asked).scalar()) is None:
        portable.add_missing(tx, facts, [_row(fact)])
        number = tx.execute(_NUMBER, asked).scalar_one()
    return int(number)


def _asked(fact: Fact) -> dict[str, str]:
    return {"s": fact.subject.value, "n": fact.name, "v": fact.value}


def _row(fact: Fact) -> dict[str, str | None]:
    return {"subject": fact.subject.value, "name": fact.name, "value": fact.value, "rank": rank(fact.value)}


def _drop(tx: Connection, ids: Sequence[str], numbers: Sequence[int]) -> None:
    """Take facts off devices, and forget those that no device has any more."""
    for part in _parts(numbers):
        for some in _parts(ids):
            tx.execute(delete(device_facts).where(device_facts.c.fact.in_(part), device_facts.c.device.in_(some)))
        left = exists().where(device_facts.c.fact == facts.c.fact)
        tx.execute(delete(facts).where(facts.c.fact.in_(part), ~left))


def _parts(items: Sequence[_Item]) -> Iterable[Sequence[_Item]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
