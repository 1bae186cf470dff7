"""A fleet manager in a process of its own: `python -m simulators.manager_process FOLDER PORT [MOSQUITTO]`.

FOLDER has `fleet.db` and `director.pem`. It writes `ready` to stdout once it has started, connected to its own broker.
With MOSQUITTO, the folder of Mosquitto's files, the broker is another process, which may come later.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from simulators import needs

with needs.imports(__name__, "fleet"):
    from edgemm.trust import signing
    from edgemm_fleet.broker.broker_settings import BrokerSettings, MosquittoFolder, Provider
    from edgemm_fleet.server.services import FleetServices, ManagerSettings
    from edgemm_fleet.store import Store
    from simulators.broker import FLEET
    from simulators.postgresql import placed


class ManagerProcess:
    """Starts a manager process, and kills it."""

    def __init__(self, folder: Path, *, port: int, mosquitto: Path | None = None) -> None:
        self._folder, self._port, self._mosquitto = folder, port, mosquitto

    def start(self) -> Self:
        """Start it and wait until it serves."""
        place = () if self._mosquitto is None else (str(self._mosquitto),)
        command = [sys.executable, "-m", "simulators.manager_process", str(self._folder), str(self._port), *place]
        with (self._folder / "manager.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == b"ready\n", (self._folder / "manager.log").read_text()
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def main(folder: Path, port: int, mosquitto: Path | None = None) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("amqtt").setLevel(logging.WARNING)
    store = Store.open(placed(folder / "fleet.db"))
    manager = FleetServices(
        ManagerSettings(FLEET, _broker(port, mosquitto)),
        store=store,
        director_key=signing.load_key(folder / "director.pem"),
    )
    manager.start()
    print("ready", flush=True)  # noqa: T201 - what the parent waits for
    signal.sigwait({signal.SIGTERM})
    manager.stop()
    store.close()


def _broker(port: int, mosquitto: Path | None) -> BrokerSettings:
    if mosquitto is None:
        return BrokerSettings(port=port)
    place = MosquittoFolder(mosquitto, pid_file=mosquitto / "mosquitto.pid")
    return BrokerSettings(Provider.MOSQUITTO, port=port, mosquitto=place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:]))
