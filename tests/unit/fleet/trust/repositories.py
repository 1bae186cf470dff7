"""A fleet's version repository in a folder, publishers, and devices that read it with python-tuf's own client."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from edgemm.bundle import open_bundle
from edgemm.canonical import sha256
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.keys import create_keys
from edgemm_fleet.trust.metadata_files import create_repository
from edgemm_fleet.trust.publication import Publication, extend
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.core.bundles import small_bundle

NOW = datetime.now(UTC)


def new_repository(path: Path) -> VersionRepository:
    """Make keys and version 1 of everything."""
    folder = FleetFolder(path)
    path.mkdir()
    signers = create_keys(folder)
    create_repository(folder, signers.__getitem__, fleet="plant", now=NOW)
    return VersionRepository(folder)


def publication(
    repository: VersionRepository, folder: Path, signer: CryptoSigner, *, minimum: str | None = None, **changes: object
) -> Publication:
    """Sign one more version of a model, as a publisher would."""
    path = folder / f"{sha256(repr(changes).encode())}.edgemm"
    manifest = small_bundle(path, **changes)
    with open_bundle(path) as bundle:
        data = bundle.manifest_bytes
    role = repository.role(manifest.name)
    following = extend(
        role.signed if role else None, data, minimum=minimum, signer=signer, now=NOW, lifetimes=DEFAULT_LIFETIMES
    )
    return Publication(manifest, data, following)


class FolderFetcher(FetcherInterface):
    """Serves a repository's files to ngclient; `replaced` overrides some by URL path."""

    def __init__(self, folder: FleetFolder, replaced: dict[str, bytes] | None = None) -> None:
        self.folder = folder
        self.replaced = replaced or {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix("http://fleet/")
        if path in self.replaced:
            return iter([self.replaced[path]])
        file = self.folder.root / path
        if not file.is_file():
            raise DownloadHTTPError("no such file", 404)
        return iter([file.read_bytes()])


def device(folder: FleetFolder, state: Path, *, replaced: dict[str, bytes] | None = None) -> Updater:
    """Return python-tuf's client with its state in `state`."""
    state.mkdir(exist_ok=True)
    return Updater(
        metadata_dir=str(state),
        metadata_base_url="http://fleet/tuf/metadata/",
        target_dir=str(state),
        target_base_url="http://fleet/tuf/targets/",
        fetcher=FolderFetcher(folder, replaced),
        bootstrap=(folder.metadata / "1.root.json").read_bytes(),
    )
