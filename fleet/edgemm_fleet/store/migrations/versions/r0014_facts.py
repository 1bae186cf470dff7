"""Facts of devices, by which filters find them: labels, machine, engines, versions and states of models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from edgemm_fleet.filters.ranks import rank

revision = "0014"
down_revision = "0012"

_AT_ONCE = 2000
_ARCHITECTURE = re.compile(
    r"(?<![^\W_])(aarch64|arm64|armv\d\w*|x86_64|amd64|i[3-6]86|riscv64|ppc64le|s390x)(?![^\W_])", re.IGNORECASE
)
_SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}
_DEVICES = """
SELECT devices.id, devices.labels_json, devices.platform, devices.runtime, reported.reported_json
FROM devices LEFT JOIN reported ON reported.device = devices.id WHERE devices.removed_at IS NULL
"""
_FAILED = """
SELECT members.device, rollouts.model, members.state, members.update_state
FROM members JOIN rollouts ON rollouts.id = members.rollout JOIN devices ON devices.id = members.device
WHERE devices.removed_at IS NULL AND rollouts.number = (
    SELECT max(r.number) FROM members AS m JOIN rollouts AS r ON r.id = m.rollout
    WHERE m.device = members.device AND r.model = rollouts.model
)
"""
_FAILURES = {"rolled_back", "failed", "rejected"}


def upgrade() -> None:
    """Make the tables and indexes, and fill them with what is known; what cannot be read has no facts."""
    text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    facts = op.create_table(
        "facts",
        sa.Column("fact", sa.Integer, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", text, nullable=False),
        sa.Column("rank", text),
    )
    device_facts = op.create_table(
        "device_facts",
        sa.Column("fact", sa.Integer, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sqlite_with_rowid=False,
    )
    assert facts is not None
    assert device_facts is not None
    _fill(facts, device_facts)
    op.create_index("facts_once", "facts", ["subject", "name", "value"], unique=True)
    op.create_index("facts_by_rank", "facts", ["subject", "name", "rank"], sqlite_where=sa.text("rank IS NOT NULL"))
    op.create_index("device_facts_by_device", "device_facts", ["device"])
    live = sa.text("removed_at IS NULL")
    op.create_index("devices_live", "devices", ["id", "removed_at"], sqlite_where=live, postgresql_where=live)
    op.create_index(
        "devices_online",
        "devices",
        ["id", "online", "removed_at"],
        sqlite_where=sa.text("online IS 1 AND removed_at IS NULL"),
        postgresql_where=sa.text("online IS true AND removed_at IS NULL"),
    )
    op.create_index(
        "devices_seen", "devices", ["last_seen_at", "id", "removed_at"], sqlite_where=live, postgresql_where=live
    )


def _fill(facts: sa.Table, device_facts: sa.Table) -> None:
    connection = op.get_bind()
    numbers: dict[tuple[str, str, str], int] = {}
    rows: list[dict[str, Any]] = []

    def write() -> None:
        if rows:
            connection.execute(sa.insert(device_facts), rows)
            rows.clear()

    for device, known in _known(connection):
        rows.extend({"fact": numbers.setdefault(fact, len(numbers) + 1), "device": device} for fact in sorted(known))
        if len(rows) >= _AT_ONCE:
            write()
    write()
    found = [
        {"fact": number, "subject": subject, "name": name, "value": value, "rank": rank(value)}
        for (subject, name, value), number in numbers.items()
    ]
    for start in range(0, len(found), _AT_ONCE):
        connection.execute(sa.insert(facts), found[start : start + _AT_ONCE])
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT setval(pg_get_serial_sequence('facts', 'fact'), max(fact)) FROM facts"))


def _known(connection: sa.Connection) -> Iterator[tuple[str, set[tuple[str, str, str]]]]:
    for device, labels, platform, runtime, report in connection.execute(sa.text(_DEVICES)):
        yield device, _of_device(labels, str(platform), str(runtime), report)
    for device, model, state, update_state in connection.execute(sa.text(_FAILED)):
        failed = update_state if update_state in _FAILURES else None
        if state == "failed" or (state == "excused" and failed):
            yield device, {("outcome", model, failed or state)}


def _of_device(labels: Any, platform: str, runtime: str, report: Any) -> set[tuple[str, str, str]]:
    found = {("label", name, value) for name, value in _document(labels).items() if isinstance(value, str)}
    if system := platform.partition("-")[0].strip().lower():
        found.add(("os", "", system))
    if machine := _ARCHITECTURE.search(platform):
        name = machine[1].lower()
        found.add(("arch", "", _SAME_MACHINE.get(name, name)))
    told = _document(report)
    found.add(("runtime", "", str(told.get("runtime", runtime))))
    engines = told.get("engines")
    if isinstance(engines, dict):
        found |= {("engine", name, str(version)) for name, version in sorted(engines.items())[:32]}
    models = told.get("models")
    for model in models if isinstance(models, list) else ():
        if not (isinstance(model, dict) and isinstance(model.get("name"), str)):
            continue
        for subject, value in (("state", model.get("state")), ("version", model.get("active_version"))):
            if isinstance(value, str):
                found.add((subject, model["name"], value))
    return found


def _document(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text) if text is not None else {}
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
