"""What every device reads of all models stays below what devices take, whoever has a publisher's token."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Metadata, Targets

from edgemm.errors import ConflictError
from edgemm.trust.signing import load_key
from edgemm.trust.withdrawn import role_name
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.metadata_files import DEFAULT_LIMITS, check_snapshot_size, serialize
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW, device, publication


def flood(repository: VersionRepository, signer: CryptoSigner, *, size: int) -> None:
    """Make the targets role as large as thousands of calls of an earlier manager did."""
    current = repository._state.targets
    following = Metadata[Targets].from_bytes(current.to_bytes())
    delegations = following.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    each = 200 + len(signer.public_key.keyid) // 2
    for number in range(size // each):
        name, keyids = role_name(f"flood-{number:06}-{'x' * 40}"), [signer.public_key.keyid]
        delegations.roles[name] = DelegatedRole(name, keyids, threshold=1, terminating=True, paths=[f"models/{name}/*"])
    following.signed.version += 1
    following.sign(load_key(repository.folder.offline_key("targets")))
    repository._replace_targets(following, now=NOW)


def test_a_publisher_fills_a_part_and_an_administrator_the_rest(
    repository: VersionRepository, publisher: CryptoSigner
) -> None:
    flood(repository, publisher, size=DEFAULT_LIMITS.publishers_bytes)
    with pytest.raises(ConflictError, match=r"limit is 1,000,000.*models tidy, or ask an administrator"):
        repository.authorise("gate", publisher.public_key, now=NOW, by_admin=False)
    repository.authorise("gate", publisher.public_key, now=NOW)
    assert roles.model_keys(repository.targets, "gate") == (publisher.public_key.keyid,)
    flood(repository, publisher, size=DEFAULT_LIMITS.targets_bytes)
    with pytest.raises(ConflictError, match=r"limit is 4,000,000.*models tidy$"):
        repository.authorise("barn", publisher.public_key, now=NOW)


def test_a_role_that_has_outgrown_devices_is_made_small_at_the_next_start(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    flood(repository, publisher, size=6_000_000)
    assert len(serialize(repository._state.targets)) > 5_000_000
    with pytest.raises(Exception, match=r"(?i)length|size"):
        device(repository.folder, tmp_path / "device").refresh()
    again = VersionRepository(repository.folder)
    again.shrink(now=NOW)
    assert roles.models(again.targets) == ("digits",), "what has versions stays"
    updater = device(repository.folder, tmp_path / "device")
    assert updater.get_targetinfo("models/digits/1.0.0.json") is not None


def test_without_the_key_the_log_says_what_to_do(
    repository: VersionRepository, publisher: CryptoSigner, caplog: pytest.LogCaptureFixture
) -> None:
    flood(repository, publisher, size=5_000_000)
    repository.folder.offline_key("targets").unlink()
    repository.shrink(now=NOW)
    assert "edgemm fleet models tidy --targets-key FILE" in caplog.text


def test_unused_authorisations_are_withdrawn_with_their_keys(
    repository: VersionRepository, publisher: CryptoSigner, tmp_path: Path
) -> None:
    repository.publish(publication(repository, tmp_path, publisher), now=NOW)
    other = CryptoSigner.generate_ed25519()
    repository.authorise("gate", other.public_key, now=NOW)
    assert repository.withdraw_unused(now=NOW) == ["gate"]
    assert repository.withdraw_unused(now=NOW) == []
    assert repository.targets.delegations is not None
    assert list(repository.targets.delegations.keys) == [publisher.public_key.keyid]


def test_the_snapshot_has_room_for_what_is_published() -> None:
    check_snapshot_size(DEFAULT_LIMITS.snapshot_bytes)
    with pytest.raises(ConflictError, match="for every device reads it"):
        check_snapshot_size(DEFAULT_LIMITS.snapshot_bytes + 1)
