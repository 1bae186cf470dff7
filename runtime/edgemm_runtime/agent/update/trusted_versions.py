"""The device's view of the fleet's version repository: python-tuf's client, the pinned connection, trusted time.

    repository.manifest(desired_model)     the manifest that a publisher signed, or a TrustError
    repository.documents()                 who signs `desired`, and where the fleet is

Neither the broker nor a stolen director key can make a device run a model that no publisher signed: name, version and
digest of `desired` must agree with the TUF target.
"""

from __future__ import annotations

import io
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import msgspec
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from edgemm import canonical, requirements
from edgemm.bundle.bundle_limits import DEFAULT_LIMITS
from edgemm.bundle.manifest import Manifest, decode_manifest
from edgemm.canonical import sha256
from edgemm.errors import (
    EnvironmentFailure,
    ExpiredError,
    InputError,
    MessageError,
    NotFoundError,
    PermissionDeniedError,
    ReplayError,
    TrustError,
    UnreachableError,
    UnsupportedError,
    WithdrawnError,
)
from edgemm.messages import DesiredModel
from edgemm.requirements import RequiredNames
from edgemm.trust.addresses import ADDRESSES_TARGET, MAX_ADDRESSES_BYTES
from edgemm.trust.enrolment import DIRECTOR_TARGET, TUF_METADATA_PATH, TUF_TARGETS_PATH
from edgemm.trust.withdrawn import role_name, withdrawn_versions
from edgemm.versions import Version
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.state.documents import DirectorFile, FleetDocuments
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.update.sparing_updater import SparingUpdater
from edgemm_runtime.agent.update.time_authority import TimeAuthority, time_authority

_MAX_DIRECTOR_BYTES = 64 * 1024
_MAX_DOCUMENT_BYTES = 5_000_000
"""Of anything in the repository: python-tuf's own limit, which it forgets where a snapshot announces a length."""
_BEFORE_ALL_EXPIRY = TrustedTime(0.0, clock_synced=False)
_log = logging.getLogger(__name__)


class _Custom(msgspec.Struct):
    minimum_version: str
    requires: RequiredNames = ()


class _Fetcher(FetcherInterface):
    """python-tuf's downloads over a `FleetConnection`; all of one look share one deadline.

    Else a server could be slow with one version of the root after another.
    """

    def __init__(self, server: FleetConnection) -> None:
        self._server, self._until_s = server, server.document_until_s()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = urlsplit(url)
        base = urlsplit(self._server.url).path
        try:
            with self._server.open("GET", path.path.removeprefix(base), until_s=self._until_s) as answer:
                yield from answer.pieces()
        except NotFoundError as err:
            raise DownloadHTTPError(str(err), 404) from err
        except PermissionDeniedError as err:
            # A bearer that is refused says nothing about the metadata; the operator may let the device in again.
            raise UnreachableError(str(err)) from err

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Hold a file in memory, at most `max_length` bytes; python-tuf's own needs a folder for temporary files.

        On a read-only system there may be none, and on a card each of its bytes is one more that wears it.
        """
        max_length = min(max_length, _MAX_DOCUMENT_BYTES)
        received = io.BytesIO()
        for piece in self.fetch(url):
            if received.tell() + len(piece) > max_length:
                raise DownloadLengthMismatchError(f"{url}: more than {max_length:,} bytes")
            received.write(piece)
        received.seek(0)
        yield received


class TrustedVersions:
    """One device's view of the repository; metadata that was seen once can never be rolled back.

    One call at a time reaches python-tuf's cache folder, whichever thread it comes from; `room` is entered around it,
    to have some on a full disk. `found_expired` is called where metadata is past its expiry: the time may be wrong.
    """

    def __init__(
        self,
        folder: Path,
        server: FleetConnection,
        *,
        root: bytes,
        now: Callable[[], TrustedTime],
        room: Callable[[], AbstractContextManager[None]] = nullcontext,
        director: Callable[[], bytes | None] = lambda: None,
        director_changed: Callable[[], None] = lambda: None,
        found_expired: Callable[[], object] = bool,
    ) -> None:
        """`director` gives the director's document as it is known; `director_changed` is told of another one."""
        self._folder, self._server, self._root, self._now, self._room = folder, server, root, now, room
        self._director, self._director_changed = director, director_changed
        self._found_expired = found_expired
        self._lock = threading.Lock()
        # python-tuf writes through `tempfile`, and a process that is killed leaves those behind.
        for left in folder.glob(f"{tempfile.gettempprefix()}????????"):
            left.unlink(missing_ok=True)

    def documents(self) -> FleetDocuments:
        """Return the documents that name the director's keys and the fleet's addresses, by one look.

        Raises:
            UnreachableError: the server is out of reach.
            TrustError: its metadata cannot be trusted, or there is no such target.
        """
        with self.look() as updater:
            director = self._known_director(updater)
            if director is None:
                director, _ = self._fetched(updater, DIRECTOR_TARGET, max_bytes=_MAX_DIRECTOR_BYTES)
            if updater.get_targetinfo(ADDRESSES_TARGET) is None:
                return FleetDocuments(director)
            addresses, _ = self._fetched(updater, ADDRESSES_TARGET, max_bytes=MAX_ADDRESSES_BYTES)
            return FleetDocuments(director, addresses)

    def manifest(self, wanted: DesiredModel) -> tuple[Manifest, bytes]:
        """Return the manifest that `wanted` names and its bytes.

        Raises:
            UnreachableError: the server is out of reach.
            ExpiredError: the repository's metadata is past its expiry by trusted time.
            ReplayError: the version is below the signed minimum.
            WithdrawnError: it was published, and then withdrawn.
            TrustError: not published, another digest, or metadata that cannot be trusted.
            UnsupportedError: the publisher restricted it in a way that is not known here.
            BundleError: the target is no manifest.
        """
        path = f"models/{wanted.name}/{wanted.version}.json"
        with self.look() as updater:
            self._check_director(updater)
            _check_offered(updater, path, wanted)
            data, target = self._fetched(updater, path, max_bytes=DEFAULT_LIMITS.max_manifest_bytes)
        if (found := sha256(data)) != wanted.digest:
            raise TrustError(
                f"{path}: desired names sha256 {wanted.digest[:12]}…, the publisher signed {found[:12]}…; "
                "publish this version, or ask for the published one"
            )
        _check_custom(target, wanted)
        manifest = decode_manifest(data, path=path)
        if (manifest.name, manifest.version) != (wanted.name, wanted.version):
            raise TrustError(f"{path}: the manifest says it is {manifest.name} {manifest.version}; publish it anew")
        return manifest, data

    def _check_director(self, updater: Updater) -> None:
        """Hold what a key asked for that was replaced since.

        Raises:
            UnreachableError: the director's keys are others now; they are asked for.
        """
        if self._director() is not None and self._known_director(updater) is None:
            self._director_changed()
            raise UnreachableError("the director's key was replaced: what it asked for waits for the new one")

    def _known_director(self, updater: Updater) -> bytes | None:
        """Return the director's document as it is known, None where the repository has another one."""
        known, target = self._director(), updater.get_targetinfo(DIRECTOR_TARGET)
        same = known is not None and target is not None and target.hashes.get("sha256") == sha256(known)
        return known if same else None

    def time_authority(self) -> TimeAuthority:
        """Return who may state the fleet's time, by the newest root and targets that can be had or are here.

        Nothing of them is too old for that: they only bound how far a statement may lower the time.

        Raises:
            UnreachableError: the server is out of reach.
            EnvironmentFailure: the cache folder cannot be written.
        """
        with self._lock, self._room():
            try:
                updater = self._updater(_BEFORE_ALL_EXPIRY)
                try:
                    updater.refresh()
                except RepositoryError as err:
                    _log.warning("newest metadata not had, going by what is here error=%s", err)
                except DownloadError as err:
                    raise UnreachableError(f"version repository: {err}") from err
                path = self._folder / "targets.json"
                return time_authority(
                    updater._trusted_set.root,  # noqa: SLF001 - python-tuf tells its root in no other way
                    path.read_bytes() if path.exists() else None,
                )
            except OSError as err:
                raise EnvironmentFailure(f"cannot keep TUF metadata in {self._folder}: {err.strerror or err}") from err

    @contextmanager
    def look(self) -> Iterator[Updater]:
        """Give python-tuf's client for one look at the repository; what goes wrong with it is told in our errors.

        Raises:
            As `documents`, and ExpiredError.
            EnvironmentFailure: what was found cannot be kept.
        """
        with self._lock, self._room():
            try:
                yield self._updater(self._now())
            except ExpiredMetadataError as err:
                self._found_expired()
                raise ExpiredError(f"version repository: {err}; is the fleet manager's own clock right?") from err
            except RepositoryError as err:
                raise TrustError(f"version repository: {err}{_advice(err)}") from err
            except DownloadLengthMismatchError as err:
                raise TrustError(f"version repository: {err}") from err
            except DownloadError as err:
                raise UnreachableError(f"version repository: {err}") from err
            except OSError as err:
                raise EnvironmentFailure(f"cannot keep TUF metadata in {self._folder}: {err.strerror or err}") from err

    def _fetched(self, updater: Updater, path: str, *, max_bytes: int) -> tuple[bytes, TargetFile]:
        target = updater.get_targetinfo(path)
        if target is None:
            raise TrustError(f"{path}: expected a target of the repository, found none: it is not published there")
        if target.length > max_bytes:
            raise TrustError(f"{path}: {target.length:,} bytes, the limit is {max_bytes:,}")
        return self._download(updater, target), target

    def _updater(self, now: TrustedTime) -> Updater:
        base = self._server.url
        updater = SparingUpdater(
            metadata_dir=str(self._folder),
            metadata_base_url=f"{base}{TUF_METADATA_PATH}",
            target_dir=str(self._folder),
            target_base_url=f"{base}{TUF_TARGETS_PATH}",
            fetcher=_Fetcher(self._server),
            bootstrap=self._root,
        )
        # The system clock may be years off; python-tuf offers no public way to give it another time.
        trusted = updater._trusted_set  # noqa: SLF001
        trusted.reference_time = datetime.fromtimestamp(now.seconds, tz=UTC)
        return updater

    def _download(self, updater: Updater, target: TargetFile) -> bytes:
        path = self._folder / "target.tmp"
        try:
            updater.download_target(target, filepath=str(path))
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)


def _check_offered(updater: Updater, path: str, wanted: DesiredModel) -> None:
    """Tell why a version is not there, where its model's role says so.

    Raises:
        WithdrawnError: it was withdrawn.
    """
    if updater.get_targetinfo(path) is not None:
        return
    role = updater._trusted_set.get(role_name(wanted.name))  # noqa: SLF001 - python-tuf tells its roles in no other way
    try:
        gone = withdrawn_versions(role.unrecognized_fields) if role is not None else ()
    except InputError:
        return  # it is named in a way that is not known here; it is not offered anyhow
    if wanted.version in gone:
        raise WithdrawnError(
            f"{wanted.name} {wanted.version} was withdrawn by an administrator of the fleet: ask for another version"
        )


def director_document(data: bytes, *, fleet: str) -> DirectorFile:
    """Read the director's document.

    Raises:
        TrustError: it is none, or another fleet's.
    """
    try:
        document = canonical.decode(data, DirectorFile, name=DIRECTOR_TARGET)
    except MessageError as err:
        raise TrustError(str(err)) from err
    if document.fleet != fleet:
        raise TrustError(f"{DIRECTOR_TARGET}: expected fleet {fleet!r}, found {document.fleet!r}")
    return document


def _advice(err: RepositoryError) -> str:
    """Return what to do about metadata that is older than what was seen: python-tuf tells both in words of its own."""
    if not isinstance(err, BadVersionNumberError) and "missing info" not in str(err):
        return ""
    return (
        "; this device has seen newer metadata: old one is played back, or the server is a restored backup, and then "
        "`edgemm fleet keys rotate snapshot timestamp` has all devices begin anew"
    )


def _check_custom(target: TargetFile, wanted: DesiredModel) -> None:
    """Obey what the publisher signed beside a target: its minimum version, and no restriction that is not known."""
    try:
        custom = msgspec.convert(target.custom, _Custom)
        minimum = Version(custom.minimum_version)
    except (msgspec.ValidationError, InputError) as err:
        raise TrustError(f"{target.path}: expected a signed minimum_version beside it: {err}; publish it anew") from err
    if Version(wanted.version) < minimum:
        raise ReplayError(
            f"{wanted.name} {wanted.version} is below the signed minimum version {minimum}: ask for {minimum} or later"
        )
    if unknown := requirements.unknown(custom.requires):
        raise UnsupportedError(f"{target.path}: {requirements.refusal(unknown)}")
