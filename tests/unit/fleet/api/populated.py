"""Simulated devices of a fleet whose API is served, so that it has something to tell."""

from __future__ import annotations

from edgemm.trust import signing
from simulators.broker import LocalFleet, publish
from tests.unit.fleet.api.servers import RunningFleet


class Populated(LocalFleet):
    """Devices of a fleet that is served, on its database."""

    def __init__(self, served: RunningFleet) -> None:
        self.served, self.path, self.now = served, served.folder.database, served.clock()
        self.signer = signing.load_key(served.folder.online_key("director"))
        self.devices, self.disturb, self.sent = {}, list, []
        self.start_on(served.state.store)
        with self.store.write() as tx:
            publish(tx, "1.0.0", "1.9.0", "1.10.0", "2.0.0")
