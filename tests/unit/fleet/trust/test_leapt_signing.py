"""Metadata that a manager signed while its clock was ahead."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tuf.api.metadata import Metadata

from edgemm.errors import BadRequestError
from edgemm.trust.signing import load_key
from edgemm.trust.time_statement import ISSUED
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.fleet.trust.repositories import NOW

LEAPS = [timedelta(hours=1), timedelta(days=1), timedelta(days=5 * 366)]


def timestamp_expires(repository: VersionRepository) -> datetime:
    return Metadata.from_file(str(repository.folder.metadata / "timestamp.json")).signed.expires


@pytest.mark.parametrize("leap", LEAPS, ids=str)
def test_snapshot_and_timestamp_are_signed_anew_once_the_clock_is_right(
    repository: VersionRepository, leap: timedelta
) -> None:
    repository.resume(now=NOW + leap)
    ahead = repository._state.timestamp.signed.version
    assert repository.refresh(now=NOW)
    assert timestamp_expires(repository) <= NOW + DEFAULT_LIFETIMES.timestamp
    assert repository._state.timestamp.signed.version > ahead, "above what devices have seen"
    assert repository._state.snapshot.signed.expires <= NOW + DEFAULT_LIFETIMES.snapshot
    assert not repository.refresh(now=NOW)


def test_root_and_targets_say_when_they_were_signed(repository: VersionRepository) -> None:
    said = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    assert repository.root.signed.unrecognized_fields == {ISSUED: said}
    assert repository.targets.unrecognized_fields == {ISSUED: said}
    later = NOW + timedelta(days=3)
    repository.authorise("words", load_key(repository.folder.online_key("snapshot")).public_key, now=later)
    assert repository.targets.unrecognized_fields == {ISSUED: f"{later:%Y-%m-%dT%H:%M:%SZ}"}


def test_targets_of_the_future_are_signed_anew_by_a_clock_that_has_proved_right(repository: VersionRepository) -> None:
    ahead = NOW + timedelta(days=5 * 366)
    repository.authorise("words", load_key(repository.folder.online_key("snapshot")).public_key, now=ahead)
    repository.refresh(now=NOW)
    assert roles.issued_in_future(repository.targets, now=NOW)
    repository.refresh(now=NOW, reissue=True)
    assert repository.targets.version == 3
    assert not roles.issued_in_future(repository.targets, now=NOW)
    assert "words" in roles.models(repository.targets)
    repository.refresh(now=NOW, reissue=True)
    assert repository.targets.version == 3


def test_without_the_key_that_is_told_once(repository: VersionRepository, caplog: pytest.LogCaptureFixture) -> None:
    ahead = NOW + timedelta(days=5 * 366)
    repository.authorise("words", load_key(repository.folder.online_key("snapshot")).public_key, now=ahead)
    repository.folder.offline_key("targets").unlink()
    for _ in range(3):
        repository.refresh(now=NOW, reissue=True)
    assert caplog.text.count("authorise a publisher again") == 1


def test_targets_that_were_signed_elsewhere_in_the_future_are_refused(repository: VersionRepository) -> None:
    following = roles.authorise(
        Metadata(repository.targets),
        "words",
        load_key(repository.folder.online_key("snapshot")).public_key,
        signer=load_key(repository.folder.offline_key("targets")),
        now=NOW + timedelta(days=1),
        lifetimes=DEFAULT_LIFETIMES,
    )
    with pytest.raises(BadRequestError, match="signed later than now"):
        repository.accept_targets(following, now=NOW)
