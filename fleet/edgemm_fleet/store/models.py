"""The store's tables of models, their published versions, and the blobs that these need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

from edgemm.errors import ConflictError, NotFoundError
from edgemm.versions import Version
from edgemm_fleet.records.records import ModelRecord, Page, VersionRecord
from edgemm_fleet.store import paging
from edgemm_fleet.store.database import Transaction
from edgemm_fleet.store.dialects.portable import add_one
from edgemm_fleet.store.schema import blobs, models, version_blobs, versions

_AT_ONCE = 500


def add_model(tx: Transaction, model: ModelRecord) -> None:
    """Record a model and its publisher's key.

    Raises:
        ConflictError: the name is taken.
    """
    values = {
        "name": model.name,
        "publisher_json": msgspec.json.encode(model.publisher).decode(),
        "minimum_version": model.minimum_version,
        "created_at": model.created_at,
    }
    if not add_one(tx, models, values):
        raise ConflictError(f"model {model.name}: there is one of this name already")


def find_model(tx: Transaction, name: str) -> ModelRecord | None:
    """Return a model, or None."""
    row = tx.execute(select(models).where(models.c.name == name)).one_or_none()
    return None if row is None else _model(row)


def set_minimum_version(tx: Transaction, name: str, version: str | None) -> None:
    """Note the signed minimum version of a model."""
    tx.execute(update(models).where(models.c.name == name).values(minimum_version=version))


def drop_unpublished(tx: Transaction, *, but: Collection[str] = ()) -> None:
    """Forget the models that have no version, but for some."""
    published = select(versions.c.model)
    gone = tx.execute(select(models.c.name).where(models.c.name.not_in(published))).scalars().all()
    for name in set(gone) - set(but):
        tx.execute(delete(models).where(models.c.name == name))


def page_models(tx: Transaction, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT) -> Page[ModelRecord]:
    """List the models by name."""
    return paging.ascending(tx, select(models), key=models.c.name, after=after, limit=limit, read=_model)


def add_blob(tx: Transaction, digest: str, *, size_bytes: int, now: float) -> None:
    """Note that a blob is there; again is no error."""
    values = {"digest": digest, "size_bytes": size_bytes, "added_at": now}
    add_one(tx, blobs, values)


def add_version(tx: Transaction, version: VersionRecord, *, blob_digests: Iterable[str]) -> None:
    """Record a published version and its blobs, which were added before; the same again changes nothing.

    Raises:
        ConflictError: the version exists with another digest.
    """
    found = find_version(tx, version.model, version.version)
    if found is not None:
        if found.digest != version.digest:
            raise ConflictError(
                f"{version.model} {version.version}: published with sha256 {found.digest[:12]}…, now given as "
                f"{version.digest[:12]}…; a version never changes: publish a higher one"
            )
        return
    tx.execute(insert(versions).values(**{name: getattr(version, name) for name in version.__struct_fields__}))
    rows = [{"model": version.model, "version": version.version, "digest": d} for d in sorted(set(blob_digests))]
    if rows:
        tx.execute(insert(version_blobs), rows)


def find_version(tx: Transaction, model: str, version: str) -> VersionRecord | None:
    """Return a published version, or None."""
    query = select(versions).where(versions.c.model == model, versions.c.version == version)
    row = tx.execute(query).one_or_none()
    return None if row is None else _version(row)


def get_version(tx: Transaction, model: str, version: str) -> VersionRecord:
    """Return a published version.

    Raises:
        NotFoundError: it was not published.
    """
    found = find_version(tx, model, version)
    if found is None:
        raise NotFoundError(f"{model[:80]} {version[:80]} is not published: `edgemm fleet models` lists what is")
    return found


def get_offered(tx: Transaction, model: str, version: str) -> VersionRecord:
    """Return a published version that devices may be told of.

    Raises:
        NotFoundError: it was not published.
        ConflictError: it was withdrawn.
    """
    found = get_version(tx, model, version)
    if found.withdrawn_at is not None:
        raise ConflictError(
            f"{model} {version} was withdrawn, so every device would refuse it; ask for another version: "
            "`edgemm fleet models` lists them"
        )
    return found


def offered_among(tx: Transaction, model: str, numbers: Collection[str]) -> list[VersionRecord]:
    """Return those of some versions of a model that are published and not withdrawn."""
    found = []
    for part in _parts(numbers):
        query = select(versions).where(versions.c.model == model, versions.c.version.in_(part))
        found += [_version(row) for row in tx.execute(query.where(versions.c.withdrawn_at.is_(None)))]
    return found


def withdraw(tx: Transaction, model: str, numbers: Collection[str], *, now: float) -> None:
    """Note that versions of a model were withdrawn; of one that was before, it stays as it is."""
    for part in _parts(numbers):
        mine = (versions.c.model == model) & versions.c.version.in_(part) & versions.c.withdrawn_at.is_(None)
        tx.execute(update(versions).where(mine).values(withdrawn_at=now))


def withdrawn_among(tx: Transaction, digests: Collection[str]) -> frozenset[str]:
    """Return those of some digests of which the version was withdrawn."""
    found = set[str]()
    for part in _parts(digests):
        query = select(versions.c.digest).where(versions.c.digest.in_(part), versions.c.withdrawn_at.is_not(None))
        found.update(tx.execute(query).scalars())
    return frozenset(found)


def page_versions(
    tx: Transaction, model: str, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> Page[VersionRecord]:
    """List the versions of a model, the highest first; `after` is one of them.

    The order of versions is none that a database knows. Their number is bounded by the size of their model's role.
    """
    texts = tx.execute(select(versions.c.version).where(versions.c.model == model)).scalars()
    ordered = sorted(texts, key=Version, reverse=True)
    if after is not None:
        ordered = [text for text in ordered if Version(text) < Version(after)]
    wanted = paging.clamp(limit)
    part = ordered[:wanted]
    query = select(versions).where(versions.c.model == model, versions.c.version.in_(part))
    found = {row.version: _version(row) for row in tx.execute(query)}
    return Page(items=tuple(found[text] for text in part), next=part[-1] if len(ordered) > wanted else None)


def counts(tx: Transaction) -> tuple[int, int]:
    """Return how many models there are, and how many versions of all of them are offered."""
    offered = select(func.count()).select_from(versions).where(versions.c.withdrawn_at.is_(None))
    return tx.execute(select(func.count()).select_from(models)).scalar_one(), tx.execute(offered).scalar_one()


def _parts(texts: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(texts)
    return (ordered[at : at + _AT_ONCE] for at in range(0, len(ordered), _AT_ONCE))


def _model(row: Any) -> ModelRecord:
    return ModelRecord(
        name=row.name,
        publisher=msgspec.json.decode(row.publisher_json, type=dict[str, Any]),
        minimum_version=row.minimum_version,
        created_at=row.created_at,
    )


def _version(row: Any) -> VersionRecord:
    return VersionRecord(**{name: getattr(row, name) for name in VersionRecord.__struct_fields__})
