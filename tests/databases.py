"""The fleet's tests over PostgreSQL: `EDGEMM_TEST_DB=postgresql pytest -m 'fleet and not sqlite'`.

Each test that opens a store at some path has a database of its own there, of a cluster that is started for the session.
What is about SQLite itself, such as its file, is marked `sqlite`, and left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from edgemm_fleet.store import Store
from simulators import postgresql

_open: list[Store] = []


def shared_scope(fixture_name: str, config: pytest.Config) -> Literal["module", "function"]:
    """Return the scope of a fleet that the tests of a module share: none does where its database goes with each."""
    return "function" if os.environ.get("EDGEMM_TEST_DB") == "postgresql" else "module"


def served(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every store in this process be opened in a cluster of its own, and those of its children, who ask for it."""
    with postgresql.Cluster() as cluster:
        postgresql.make_template(cluster)
        patch.setenv(postgresql.SERVER, f"postgresql://{postgresql.USER}@127.0.0.1:{cluster.port}")
        opened: Any = Store.open
        joined: Any = Store.join

        def open_placed(path: Any, **options: Any) -> Store:
            found: Store = opened(postgresql.placed(path), **options)
            _open.append(found)
            return found

        def join_placed(path: Any) -> Store:
            found: Store = joined(postgresql.placed(path))
            _open.append(found)
            return found

        patch.setattr(Store, "open", open_placed)
        patch.setattr(Store, "join", join_placed)
        yield


def end_of_test() -> None:
    """Close what a test left open, and take its databases away."""
    for store in _open:
        store.close()
    _open.clear()
    postgresql.drop_placed()
