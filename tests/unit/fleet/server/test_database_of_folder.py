"""The database of a fleet folder: its own fleet's, or refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.canonical import sha256
from edgemm.errors import InputError
from edgemm.trust import signing
from edgemm_fleet.server.database_of_folder import expect_own, open_database
from edgemm_fleet.store import Store, notes
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_fleet.trust.founding import found

pytestmark = pytest.mark.sqlite


def fleet(path: Path) -> FleetFolder:
    """Make a fleet; all of them have one name, as those made in folders of one name do."""
    config = FleetConfig(name="fleet", public_url="http://localhost:8080")
    return found(path, config, now=time.time(), furnish=lambda *_: None).folder


def noted(path: Path) -> str | None:
    return notes.look(path, notes.FLEET).get(notes.FLEET)


def test_a_database_says_whose_it_is_from_the_first_start_on(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "a")
    assert noted(folder.database) is None, "as one of an earlier edgemm"
    for _ in range(2):
        open_database(folder, None, migrated=None).close()
    assert noted(folder.database) == sha256(folder.first_root.read_bytes())


def test_the_database_of_another_fleet_is_refused(tmp_path: Path) -> None:
    folder, other = fleet(tmp_path / "a" / "fleet"), fleet(tmp_path / "b" / "fleet")
    open_database(other, None, migrated=None).close()
    shutil.copy(other.database, folder.database)
    before = folder.database.read_bytes()
    with pytest.raises(
        InputError, match=r"fleet\.db: expected the fleet of .*/a/fleet, or an empty database, found an"
    ):
        open_database(folder, None, migrated=None)
    assert folder.database.read_bytes() == before
    open_database(other, None, migrated=None).close()


@pytest.mark.parametrize("same", [True, False])
def test_where_nothing_tells_whose_it_is_the_directors_key_does(tmp_path: Path, *, same: bool) -> None:
    folder, elsewhere = fleet(tmp_path / "a"), tmp_path / "elsewhere.db"
    key = signing.load_key(folder.online_key("director")) if same else CryptoSigner.generate_ed25519()
    store = Store.open(elsewhere)
    with store.write() as tx:
        notes.put(tx, notes.DIRECTOR_KEY, key.public_key.keyid)
    store.close()
    if same:
        expect_own(folder, elsewhere)
        return
    with pytest.raises(InputError, match="found another fleet"):
        expect_own(folder, elsewhere)
    shutil.copy(elsewhere, folder.database)
    expect_own(folder, folder.database)  # the folder's own: its director's key was replaced while no manager ran


def test_a_database_that_is_no_fleets_yet_is_nobodys(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "a")
    expect_own(folder, tmp_path / "absent.db")
    (tmp_path / "empty.db").touch()
    expect_own(folder, tmp_path / "empty.db")
