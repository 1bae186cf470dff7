"""The number of devices, and of those that are online: counted at the start, then kept by differences.

    census(tx).change(devices=+1)       # in a writing transaction: it counts once that is durable
    store.census.devices

One manager writes at a time, so that nobody else changes what was counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

_OPTION = "edgemm_census"


class Census:
    """How many devices there are; changed by whoever has the writer's lock."""

    def __init__(self) -> None:
        self.devices, self.online = 0, 0
        self._more_devices, self._more_online = 0, 0
        self._ending = False
        self.doubtful = False
        """Whether it is not known if a transaction was kept: count anew."""

    def options(self) -> Mapping[str, Any]:
        """Return the execution options by which `census` finds this one."""
        return {_OPTION: self}

    @property
    def offline(self) -> int:
        """Devices that are not connected."""
        return self.devices - self.online

    def begin(self, *, devices: int, online: int) -> None:
        """Take what was counted."""
        self.devices, self.online = devices, online
        self.doubtful = False

    def change(self, *, devices: int = 0, online: int = 0) -> None:
        """Note a difference that the transaction makes."""
        self._more_devices += devices
        self._more_online += online

    def ends(self) -> None:
        """Note that the transaction is given to a server, whose answer may be lost: until `keep`, it may be durable."""
        self._ending = bool(self._more_devices or self._more_online)

    def keep(self) -> None:
        """Take what was noted: the transaction is durable."""
        self.devices += self._more_devices
        self.online += self._more_online
        self._ending = False
        self.drop()

    def drop(self) -> None:
        """Forget what was noted: nothing of the transaction was kept, or all of it is taken."""
        self._more_devices, self._more_online = 0, 0
        self.doubtful, self._ending = self.doubtful or self._ending, False


def census(tx: Connection) -> Census:
    """Return the census of the database that a transaction is of."""
    found = tx.get_execution_options().get(_OPTION)
    return found if isinstance(found, Census) else Census()
