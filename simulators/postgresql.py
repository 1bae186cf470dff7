"""A PostgreSQL server of its own: a private cluster on a free port of loopback, for tests; and its databases.

    with Cluster() as cluster:
        address = cluster.create("fleet")
        cluster.stop()
        cluster.start()

It runs as another user where we are root, which PostgreSQL refuses. Nothing that it writes is synced to disk.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from simulators import needs
from simulators.mosquitto import free_port
from simulators.waiting import eventually

with needs.imports(__name__, "fleet"):
    from edgemm import durable
    from edgemm_fleet.store import Store
    from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress
    from edgemm_fleet.store.transfer import move_fleet
    from edgemm_fleet.trust.fleet_folder import FleetFolder

USER = "edgemm"
SERVER = "EDGEMM_TEST_POSTGRESQL"
"""The variable with the address of a running cluster: `placed` then has databases of it in place of SQLite's files."""
_TEMPLATE = "edgemm_template"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest that is installed; Debian has them out of the way."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).parent if beside else None


class Cluster:
    """The server; a context manager that ends it and takes its files away."""

    def __init__(self, folder: Path | None = None, *, settings: tuple[str, ...] = ()) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "PostgreSQL is not installed"
        self._bin, self.port, self._settings = bin_folder, free_port(), settings
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="edgemm-postgresql-", dir=place))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            found = pwd.getpwnam("postgres" if _exists("postgres") else "nobody")
            os.chown(self.folder, found.pw_uid, found.pw_gid)
            self._user = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}")
        quick = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=200")
        options = [word for one in (*settings, *quick, *self._settings) for word in ("-c", one)]
        with (self.folder / "log").open("ab") as log:
            command = [str(self._bin / "postgres"), "-D", str(self.data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._user)
        eventually(self._answers, f"PostgreSQL answers on port {self.port}")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast` or `immediate`, which is as good as a loss of power."""
        if self._process is not None:
            self._run("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w")
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End it and all of its processes with SIGKILL."""
        assert self._process is not None
        workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self._process.kill()
        self._process.wait()
        for worker in map(int, workers):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        # While one of them is there, the server refuses to start, as its memory is in use.
        eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in workers), "its processes are gone")
        self._process = None

    def address(self, database: str, *, user: str = USER) -> PostgresAddress:
        """Return where a database is."""
        return PostgresAddress(f"postgresql://{user}@127.0.0.1:{self.port}/{database}")

    def create(self, database: str) -> PostgresAddress:
        """Make an empty database."""
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')
        return self.address(database)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; return its rows."""
        return execute(self.address(database), statement)

    def _answers(self) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *words: object) -> None:
        command = [str(self._bin / program), *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._user)
        assert done.returncode == 0, done.stdout + done.stderr


def execute(address: PostgresAddress, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in a database; return its rows."""
    import psycopg

    with psycopg.connect(address.url, autocommit=True) as connection:
        found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def served_options(folder: Path) -> tuple[str, ...]:
    """Return the options of `serve` by which a folder's database is in the cluster that `SERVER` names, if any."""
    server = os.environ.get(SERVER)
    if server is None:
        return ()
    name, admin = _name(folder / "fleet.db"), PostgresAddress(f"{server}/postgres")
    if not execute(admin, f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
        execute(admin, f'CREATE DATABASE "{name}" TEMPLATE template0')
    return ("--db", f"{server}/{name}")


def placed(place: DatabaseAddress) -> DatabaseAddress:
    """Return a database of the cluster that `SERVER` names, made for the path of a file; without one, the path.

    A fleet that is in the file moves there. One that is just being founded stays: every fleet begins in SQLite.
    """
    server = os.environ.get(SERVER)
    if server is None or not isinstance(place, Path) or place.parent.name.startswith(durable.TEMPORARY_PREFIX):
        return place
    name = _name(place)
    admin = PostgresAddress(f"{server}/postgres")
    if not execute(admin, f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
        execute(admin, f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
        if place.exists():
            move_fleet(place, PostgresAddress(f"{server}/{name}"), told=lambda *_: None)
            FleetFolder(place.parent).note_database(PostgresAddress(f"{server}/{name}"))
    return PostgresAddress(f"{server}/{name}")


def make_template(cluster: Cluster) -> None:
    """Make the database with today's tables from which `placed` makes the others."""
    Store.open(cluster.create(_TEMPLATE)).close()


def drop_placed() -> None:
    """Take away what `placed` made, whoever uses it."""
    admin = PostgresAddress(f"{os.environ[SERVER]}/postgres")
    for (name,) in execute(admin, "SELECT datname FROM pg_database WHERE datname LIKE 't____________________'"):
        execute(admin, f'DROP DATABASE "{name}" WITH (FORCE)')


def _name(path: Path) -> str:
    return f"t{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]}"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
