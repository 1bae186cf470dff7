"""Work on one rollout, apart from the others: an error that meets one must not stop all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy.exc import OperationalError

from edgemm_fleet.store import Store, Transaction, rollouts

_log = logging.getLogger(__name__)


@contextmanager
def apart(tx: Transaction, rollout_id: str) -> Iterator[None]:
    """Undo what was done to one rollout if it fails, note the error at it, and go on with the others.

    The note stays until a `tick` had no error: only that makes up for everything that was undone.
    """
    try:
        with tx.begin_nested():
            yield
    except OperationalError:
        raise  # of the database, a full disk for one: then nothing of the whole transaction holds
    except Exception as err:  # noqa: BLE001 - the boundary of a rollout: a defect that meets one must not stop all
        _note(tx, rollout_id, err)


class Noting:
    """Does what `apart` does around several transactions: an error is noted at the rollout and goes no further.

    `failing` has the rollout from then on until it goes well. An error of the database is raised.
    """

    def __init__(self, store: Store, rollout_id: str, *, failing: set[str]) -> None:
        self._store, self._rollout_id, self._failing = store, rollout_id, failing

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note how it went; tell whether that was all there is to do."""
        if err is None:
            self._failing.discard(self._rollout_id)
        if not isinstance(err, Exception) or isinstance(err, OperationalError):
            return False
        self._failing.add(self._rollout_id)
        with self._store.write() as tx:
            _note(tx, self._rollout_id, err)
        return True


def _note(tx: Transaction, rollout_id: str, err: Exception) -> None:
    if rollouts.note_trouble(tx, rollout_id, f"{type(err).__name__}: {err}"):
        _log.error("rollout_stuck rollout=%s cannot go on; it is tried again", rollout_id, exc_info=err)
