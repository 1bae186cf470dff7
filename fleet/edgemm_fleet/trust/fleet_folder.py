"""The fleet folder: everything that a fleet manager keeps on disk, and its place there.

* `fleet.json`: name, public URL, format; written last by `init`, so that a folder with this file is complete
* `fleet.db`: the database; beside it `fleet-REVISION-TIME.db`, copies made before a migration
* `database.json`: where the database is, if it is PostgreSQL's
* `blobs/`: bundles' blobs by digest
* `tuf/metadata/`, `tuf/targets/`: the TUF repository that devices read
* `trust-change.json`: a change of root and targets that is under way; `.trust.lock` keeps others out meanwhile
* `keys/`: the secrets of the running server: snapshot, timestamp and director key, the secret of devices' credentials
  (`key_files.py` has the rest)
* `offline-keys/`: root and targets keys, which the server does not need once models are authorised
* `tls/`: the certificate that tokens pin, and its key; the next and the previous one (`next_certificate.py`)
* `broker.json`: where devices find the broker, noted by the manager when it starts
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from edgemm import canonical, durable
from edgemm.errors import EnvironmentFailure, InputError, NewerFormatError
from edgemm.topics import FleetName
from edgemm_fleet.store.dialects.database_address import DatabaseAddress, PostgresAddress

FORMAT = 1
CONFIG_NAME = "fleet.json"
LOCK, TRUST_LOCK = ".lock", ".trust.lock"


class FleetConfig(Struct, frozen=True, kw_only=True):
    """What `init` settled once: the fleet's name and where devices and people reach it."""

    format: int = FORMAT
    name: FleetName
    public_url: str


class _FormatOnly(Struct):
    format: int


class _DatabaseNote(Struct, frozen=True):
    url: str


@dataclass(frozen=True)
class FleetFolder:
    """Paths inside a fleet folder."""

    root: Path

    @property
    def config(self) -> Path:
        """The file that says that the folder is a fleet's."""
        return self.root / CONFIG_NAME

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "fleet.db"

    @property
    def database_note(self) -> Path:
        """Where the database is, if it is not SQLite's file here."""
        return self.root / "database.json"

    @property
    def blobs(self) -> Path:
        """Blobs by digest."""
        return self.root / "blobs"

    @property
    def metadata(self) -> Path:
        """TUF metadata files."""
        return self.root / "tuf" / "metadata"

    @property
    def first_root(self) -> Path:
        """The root metadata with which the fleet began; it never changes."""
        return self.metadata / "1.root.json"

    @property
    def targets(self) -> Path:
        """TUF target files, their names prefixed by their hash."""
        return self.root / "tuf" / "targets"

    @property
    def certificate(self) -> Path:
        """The server's TLS certificate in PEM."""
        return self.root / "tls" / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The private key of the TLS certificate in PEM."""
        return self.root / "tls" / "key.pem"

    @property
    def credentials_key(self) -> Path:
        """The secret from which devices' credentials are derived."""
        return self.root / "keys" / "credentials.key"

    @property
    def trust_change(self) -> Path:
        """A change of root and targets that is under way, or was cut short."""
        return self.root / "trust-change.json"

    @property
    def broker_note(self) -> Path:
        """Where devices find the broker, as the manager noted it at its last start."""
        return self.root / "broker.json"

    def database_address(self) -> DatabaseAddress:
        """Return where the fleet's database is.

        Raises:
            InputError: the note about it is not what we write.
        """
        try:
            data = self.database_note.read_bytes()
        except FileNotFoundError:
            return self.database
        except OSError as err:
            raise EnvironmentFailure(f"cannot read {self.database_note}: {err.strerror or err}") from err
        try:
            return PostgresAddress.parse(
                msgspec.json.decode(data, type=_DatabaseNote).url, what=str(self.database_note)
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise InputError(f"{self.database_note}: expected what `edgemm fleet serve --db` writes: {err}") from err

    def note_database(self, address: DatabaseAddress) -> None:
        """Note where the fleet's database is, for the next start and for commands on the server."""
        if isinstance(address, Path):
            self.database_note.unlink(missing_ok=True)
            durable.sync_folder(self.root)
        elif address != self.database_address():
            durable.write(self.database_note, canonical.encode(_DatabaseNote(url=str(address))) + b"\n")

    def online_key(self, role: str) -> Path:
        """Where the key of `snapshot`, `timestamp` or `director` lies."""
        return self.root / "keys" / f"{role}.pem"

    def offline_key(self, role: str) -> Path:
        """Where the key of `root` or `targets` lies until it is taken offline."""
        return self.root / "offline-keys" / f"{role}.pem"

    @contextmanager
    def trust_held(self) -> Iterator[None]:
        """Let nobody else change keys and version repository while the block lasts; it waits for who does."""
        descriptor = os.open(self.root / TRUST_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read_config(self) -> FleetConfig:
        """Read `fleet.json`.

        Raises:
            InputError: the folder is not a fleet's, or its `fleet.json` is damaged.
            NewerFormatError: a later edgemm made it.
        """
        try:
            data = self.config.read_bytes()
        except OSError as err:
            raise InputError(
                f"{self.root}: not a fleet folder (no {CONFIG_NAME}); make one: edgemm fleet init {self.root}"
            ) from err
        try:
            found = msgspec.json.decode(data, type=_FormatOnly).format
            if found > FORMAT:
                raise NewerFormatError(
                    str(self.config), what="fleet folder format", found=str(found), supported=str(FORMAT)
                )
            return msgspec.json.decode(data, type=FleetConfig)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise InputError(f"{self.config}: expected what `edgemm fleet init` writes: {err}") from err

    def check_whole(self, *, tls: bool) -> None:
        """Refuse a folder of which a part is lost: nothing is made anew in silence that devices and people know.

        Raises:
            InputError: a file that `init` made is missing.
        """
        needed = [self.credentials_key, self.metadata / "timestamp.json"]
        needed += [] if self.database_note.exists() else [self.database]
        needed += [self.certificate, self.certificate_key] if tls else []
        if missing := [str(path.relative_to(self.root)) for path in needed if not path.exists()]:
            raise InputError(
                f"{self.root}: expected all that `edgemm fleet init` made, found no {', '.join(missing)}: a disk may "
                "not be mounted, or a backup was restored in part; put the whole folder back"
            )

    def write_config(self, config: FleetConfig) -> None:
        """Write `fleet.json`, which makes the folder a fleet's."""
        durable.write(self.config, canonical.encode(config) + b"\n")


class FolderLock:
    """Keeps a second server out of a fleet folder for as long as this process lives; a context manager."""

    def __init__(self, folder: FleetFolder) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        descriptor = os.open(self.folder.root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(descriptor)
            raise EnvironmentFailure(
                f"{self.folder.root}: another `edgemm fleet serve` uses this folder; stop it first"
            ) from err
        self._descriptor = descriptor
        return self

    def __exit__(self, *exc: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
