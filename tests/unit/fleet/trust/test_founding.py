import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from edgemm import durable
from edgemm.canonical import sha256
from edgemm.errors import EnvironmentFailure, InputError, NewerFormatError
from edgemm_fleet.store import Store, Transaction
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder, FolderLock
from edgemm_fleet.trust.founding import Founded, check_public_url, found
from edgemm_fleet.trust.keys import read_secret
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, device

URL = "https://fleet.example:8443"


def furnish(tx: Transaction, pin: str | None) -> None:
    pass


def new(path: Path, url: str = URL) -> Founded:
    return found(path, FleetConfig(name="plant", public_url=url), now=NOW.timestamp(), furnish=furnish)


def test_init_makes_all_that_serving_needs(tmp_path: Path) -> None:
    founded = new(tmp_path / "fleet")
    folder = founded.folder
    assert folder.read_config() == FleetConfig(name="plant", public_url=URL)
    assert sha256(VersionRepository(folder).root_bytes) == founded.root_digest
    assert founded.tls_fingerprint == fingerprint(folder.certificate)
    assert len(read_secret(folder.credentials_key)) == 32
    Store.open(folder.database).close()
    assert "offline" in (folder.root / "offline-keys" / "README.txt").read_text()


def test_private_files_are_the_owners_alone(tmp_path: Path) -> None:
    root = new(tmp_path / "fleet").folder.root
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in [*root.rglob("*.pem"), *root.rglob("*.key")]:
        expected = 0o644 if path.name == "certificate.pem" else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_the_server_works_without_the_offline_keys(tmp_path: Path) -> None:
    folder = new(tmp_path / "fleet").folder
    for path in (folder.root / "offline-keys").iterdir():
        path.unlink()
    assert VersionRepository(folder).refresh(now=NOW + timedelta(days=5))
    device(folder, tmp_path / "device").refresh()


def test_nothing_is_touched_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "precious").write_text("x")
    with pytest.raises(InputError, match="expected an empty or absent folder"):
        new(tmp_path / "fleet")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="expected an empty or absent folder"):
        new(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "fleet"]


def test_the_folder_that_one_is_in_cannot_be_put_there_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="from the one above"):
        new(Path())
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = iter(range(7))
    write = durable.write

    def full(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if next(writes, None) is None:
            raise EnvironmentFailure("No space left on device")
        write(path, data, mode=mode)

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(EnvironmentFailure):
        new(tmp_path / "fleet")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    new(tmp_path / "fleet")


@pytest.mark.parametrize(
    "url",
    [
        "http://fleet.example",
        "fleet.example",
        "ftp://fleet.example",
        "https://",
        "https://x:99999",
        "https://x:0",
        "https://x/path",
        "https://x?y",
        "",
    ],
)
def test_a_public_url_that_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="public URL"):
        new(tmp_path / "fleet", url)
    assert list(tmp_path.iterdir()) == []


def test_plain_loopback_pins_no_certificate(tmp_path: Path) -> None:
    assert new(tmp_path / "fleet", "http://127.0.0.1:8080").tls_fingerprint is None
    assert check_public_url("https://[2001:db8::1]:8443") == "2001:db8::1"


def test_the_certificate_lasts_ten_years_and_names_its_host(tmp_path: Path) -> None:
    create_certificate(tmp_path / "c.pem", tmp_path / "k.pem", names=["pi.local", "10.0.0.7"], now=NOW)
    certificate = x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pi.local", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "127.0.0.1", "::1"]
    assert certificate.not_valid_after_utc - NOW > timedelta(days=3649)
    assert certificate.not_valid_before_utc < datetime.now(UTC)


def test_a_folder_that_is_no_fleets_or_a_later_ones_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a fleet folder.*edgemm fleet init"):
        FleetFolder(tmp_path).read_config()
    (tmp_path / "fleet.json").write_text('{"format": 2}')
    with pytest.raises(NewerFormatError, match="fleet folder format 2 is newer than 1"):
        FleetFolder(tmp_path).read_config()
    (tmp_path / "fleet.json").write_text("nonsense")
    with pytest.raises(InputError, match="expected what `edgemm fleet init` writes"):
        FleetFolder(tmp_path).read_config()


def test_a_second_server_is_kept_out_of_a_folder(tmp_path: Path) -> None:
    folder = FleetFolder(tmp_path)
    with FolderLock(folder), pytest.raises(EnvironmentFailure, match="stop it first"), FolderLock(folder):
        pass
    with FolderLock(folder):
        pass


def test_a_secret_that_was_cut_short_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"short")
    with pytest.raises(InputError, match="expected 32 bytes, found 5"):
        read_secret(tmp_path / "s")
    with pytest.raises(InputError, match="cannot read"):
        read_secret(tmp_path / "nothing")
    with pytest.raises(InputError, match="expected a TLS certificate"):
        fingerprint(tmp_path / "s")
