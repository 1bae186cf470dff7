"""A publisher's view of the fleet's TUF repository, through python-tuf's client and the root pinned at login.

So nothing that a server says can make a publisher sign what it did not mean to. The role that it extends was signed by
a publisher of this model, and is never older than one that was seen before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Snapshot, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from edgemm.canonical import sha256
from edgemm.errors import EdgemmError, EnvironmentFailure, NotFoundError, TrustError
from edgemm.trust.enrolment import TUF_METADATA_PATH, TUF_TARGETS_PATH
from edgemm.trust.withdrawn import role_name
from edgemm_fleet.client.api_connection import ApiConnection
from edgemm_fleet.client.profile import locked, make_config_folder
from edgemm_fleet.trust.roles import models, target_path

_LARGEST_TARGETS_BYTES = 32_000_000


class _Fetcher(FetcherInterface):
    """Fetches over the pinned connection."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection
        self.failure: EdgemmError | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._connection.stream(url.removeprefix(self._connection.url))
        except NotFoundError as err:
            raise DownloadHTTPError(str(err), 404) from err
        except EdgemmError as err:
            self.failure = err
            raise DownloadError(str(err)) from err


class PublishedRoles:
    """Reads the verified metadata of one fleet; `root` is the document that is trusted."""

    def __init__(self, connection: ApiConnection, root: str) -> None:
        self._connection = connection
        self._root = root.encode()
        self._folder = make_config_folder() / "tuf" / sha256(self._root)[:16]

    def targets(self) -> Metadata[Targets]:
        """Return the top-level targets role.

        Raises:
            TrustError: the server's metadata does not follow from the pinned root.
            EnvironmentFailure: the server cannot be reached.
        """
        with self._locked():
            self._refreshed()
            return self._read("targets")

    def unused(self) -> list[str]:
        """Return the models that somebody may publish and nobody did, by what `targets` read."""
        targets: Metadata[Targets] = self._read("targets")
        snapshot: Metadata[Snapshot] = self._read("snapshot")
        return [n for n in models(targets.signed) if f"{role_name(n)}.json" not in snapshot.signed.meta]

    def model(self, model: str) -> Targets | None:
        """Return the role of a model, or None where no version is published.

        Raises:
            TrustError, EnvironmentFailure: as `targets`.
        """
        with self._locked():
            updater = self._refreshed()
            snapshot: Metadata[Snapshot] = self._read("snapshot")
            if f"{role_name(model)}.json" not in snapshot.signed.meta:
                return None
            with _Explained(self._connection, None):
                updater.get_targetinfo(target_path(model, "0.0.0"))
            role: Metadata[Targets] = self._read(role_name(model))
            return role.signed

    def _locked(self) -> AbstractContextManager[None]:
        """Keep out another command: what is read belongs to what was fetched."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return locked(self._folder)

    def _refreshed(self) -> Updater:
        fetcher = _Fetcher(self._connection)
        with _Explained(self._connection, fetcher):
            updater = Updater(
                metadata_dir=str(self._folder),
                metadata_base_url=self._connection.url + TUF_METADATA_PATH,
                target_base_url=self._connection.url + TUF_TARGETS_PATH,
                fetcher=fetcher,
                bootstrap=self._root,
                # An operator reads what has outgrown devices, to make it small again.
                config=UpdaterConfig(targets_max_length=_LARGEST_TARGETS_BYTES),
            )
            updater.refresh()
        return updater

    def _read(self, role: str) -> Metadata[Any]:
        path: Path = self._folder / f"{role}.json"
        return Metadata.from_bytes(path.read_bytes())


class _Explained:
    """Turns python-tuf's errors into ours; a context manager."""

    def __init__(self, connection: ApiConnection, fetcher: _Fetcher | None) -> None:
        self._connection = connection
        self._fetcher = fetcher

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, err: BaseException | None, traceback: object) -> None:
        if self._fetcher is not None and self._fetcher.failure is not None:
            raise self._fetcher.failure from err
        if isinstance(err, ExpiredMetadataError):
            self._connection.check_clocks()
        if isinstance(err, RepositoryError):
            raise TrustError(
                f"{self._connection.url}: its version repository does not follow from the root that was pinned at "
                f"login: {err}; nothing was signed"
            ) from err
        if isinstance(err, DownloadError):
            raise EnvironmentFailure(f"{self._connection.url}: {err}; try again") from err
