"""A fleet as it is served: a founded folder, `edgemm fleet serve`, its broker, and its administrator."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edgemm.trust import signing
from edgemm_fleet.client.fleet import FleetClient
from edgemm_fleet.client.profile import Profile
from edgemm_fleet.store import Store
from edgemm_fleet.store.dialects.database_address import PostgresAddress
from edgemm_fleet.trust.fleet_folder import FleetFolder
from simulators import needs
from simulators.models import make_bundle
from simulators.mosquitto import MosquittoProcess, free_port
from simulators.postgresql import Cluster

MODEL, FLEET = "tiny", "bench"
_READY_S = 120.0


@dataclass(frozen=True)
class WorldSettings:
    """What is served, and how."""

    mosquitto: bool
    tls: bool
    database: str | None
    """An address; `private`: of a PostgreSQL of its own; None: SQLite."""
    profile: Path | None
    """Where the manager writes what its CPU was for."""


class World:
    """A context manager that ends all that it started."""

    def __init__(self, folder: Path, settings: WorldSettings) -> None:
        self.place, self.settings = folder, settings
        self.folder = folder / FLEET
        self.broker_port, self._port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self._stack = ExitStack()
        self.mosquitto: MosquittoProcess | None = None
        self._database: Path | PostgresAddress = self.folder / "fleet.db"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def pids(self) -> dict[str, int]:
        """Whose CPU and memory is counted."""
        found = {"manager": self._manager.pid}
        return found | ({} if self.mosquitto is None else {"broker": self.mosquitto.pid})

    @property
    def log(self) -> str:
        """What the manager has logged."""
        return (self.place / "manager.log").read_text(errors="replace")

    @property
    def broker_log(self) -> list[str]:
        """What Mosquitto has logged, line by line."""
        return [] if self.mosquitto is None else self.mosquitto.log.read_text(errors="replace").splitlines()

    def publish(self, version: str) -> str:
        """Publish a version of a tiny model; return its digest."""
        bundle = self.place / f"{MODEL}-{version}.edgemm"
        make_bundle(bundle, version=version, seed=int(version[0]))
        return str(self.command("publish", bundle)["record"]["digest"])

    def command(self, *words: str | Path, stdin: str = "") -> Any:
        """Run `edgemm fleet … --json`; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "edgemm", "fleet", *map(str, words), "--json"],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=self.place,
        )
        if done.returncode:
            raise RuntimeError(f"edgemm fleet {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def director(self) -> dict[str, Any]:
        """Return the document of the key that signs `desired`."""
        return signing.key_document(signing.load_key(FleetFolder(self.folder).online_key("director")).public_key)

    def update_paths(self, version: str) -> list[str]:
        """Return what a device fetches for an update: metadata, as far as it is new, the manifest, and a blob."""
        metadata = self.folder / "tuf" / "metadata" if (self.folder / "tuf").exists() else self.folder
        names = {path.name for path in metadata.rglob("*.json")}
        newest = [
            max(found)
            for role in ("snapshot", "targets")
            if (found := [n for n in names if n.endswith(f".{role}.json")])
        ]
        roots = [name for name in names if name.endswith(".root.json")]
        manifest = next(path for path in self.folder.rglob(f"*{version}.json") if MODEL in str(path))
        blob = max(
            (path for path in FleetFolder(self.folder).blobs.rglob("*") if path.is_file()),
            key=lambda p: p.stat().st_size,
        )
        return [
            f"/tuf/metadata/{len(roots) + 1}.root.json",
            "/tuf/metadata/timestamp.json",
            *(f"/tuf/metadata/{name}" for name in newest),
            f"/tuf/targets/models/{MODEL}/{manifest.name}",
            f"/api/v1/blobs/{blob.name}",
        ]

    def restart_broker(self) -> None:
        """Kill Mosquitto, which forgets all, and start it again."""
        assert self.mosquitto is not None
        self.mosquitto.kill()
        self._start_mosquitto()

    def store(self) -> Store:
        """Look at the database beside the manager."""
        return Store.join(self._database)

    def _start(self, stack: ExitStack) -> None:
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(("EDGEMM_", "XDG_"))}
        self._environment |= {"HOME": str(self.place), "NO_COLOR": "1"}
        founded = self.command("init", self.folder, "--name", FLEET, "--public-url", self.url)
        token = str(founded["token"])
        self.fingerprint = str(founded["tls_fingerprint"])
        self._start_manager(stack)
        self.command("login", self.url, "--token-file", "-", "--fingerprint", self.fingerprint, stdin=token)
        profile = Profile(url=self.url, token=token, tls_fingerprint=self.fingerprint, root="")
        self.client = stack.enter_context(FleetClient(profile))
        if self.settings.mosquitto:
            stack.callback(self._end_mosquitto)
            self._start_mosquitto()
        deadline_s = time.monotonic() + _READY_S
        while not self.client.status().broker_connected:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the manager does not come to its broker: {self.log[-2000:]}")
            time.sleep(0.1)

    def _start_manager(self, stack: ExitStack) -> None:
        scheme, host = ("mqtts", "localhost") if self.settings.tls else ("mqtt", "127.0.0.1")
        options = ["--broker", f"embedded:{self.broker_port}"]
        if self.settings.mosquitto:
            files = self._files = self.place / "mosquitto"
            files.mkdir()
            options = ["--broker", f"{scheme}://{host}:{self.broker_port}", "--mosquitto", str(files)]
            options += ["--mosquitto-pid", str(files / "pid")]
        if self.settings.database == "private":
            self._database = stack.enter_context(Cluster(settings=("fsync=on",))).create("fleet")
        elif self.settings.database is not None:
            self._database = PostgresAddress(self.settings.database)
        if isinstance(self._database, PostgresAddress):
            options += ["--db", self._database.url]
        program = ["-m", "edgemm"]
        if self.settings.profile is not None:
            program = ["-m", "benchmarks.fleet_devices.sampled", str(self.settings.profile)]
        with (self.place / "manager.log").open("w") as log:
            self._manager = subprocess.Popen(
                [sys.executable, *program, "fleet", "serve", str(self.folder), *options],
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        stack.callback(self._end_manager)
        deadline_s = time.monotonic() + _READY_S
        while not re.search(r"^serving", self.log, re.MULTILINE):
            if self._manager.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the manager does not serve: {self.log[-2000:]}")
            time.sleep(0.05)

    def _end_manager(self) -> None:
        self._manager.terminate()
        self._manager.wait(60)

    def _start_mosquitto(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            needs.program("mosquitto")
        self.mosquitto = MosquittoProcess(Path(str(program)), self._files, port=self.broker_port, verbose=False)
        self.mosquitto.__enter__()

    def _end_mosquitto(self) -> None:
        if self.mosquitto is not None:
            self.mosquitto.__exit__()
