"""Work on one rollout, apart from the others: an error that meets one must not stop all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from edgemm_fleet.store import Transaction, rollouts

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
        if rollouts.note_trouble(tx, rollout_id, f"{type(err).__name__}: {err}"):
            _log.exception("rollout_stuck rollout=%s cannot go on; it is tried again", rollout_id)
