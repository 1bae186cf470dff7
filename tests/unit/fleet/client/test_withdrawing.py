"""The withdrawal of versions over the real API, also cut short at each of its writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edgemm import durable
from edgemm.errors import ConflictError, EdgemmError, EnvironmentFailure, InputError, PermissionDeniedError
from edgemm_fleet.api import models as api_models
from edgemm_fleet.api.messages import Overview, WithdrawalRequest
from edgemm_fleet.client import FleetClient, publishing
from edgemm_fleet.client.publishing import publish
from edgemm_fleet.store import models
from edgemm_fleet.trust.catalogue import catch_up
from edgemm_fleet.trust.model_role import minimum_version, withdrawn_of
from edgemm_fleet.trust.version_repository import VersionRepository
from tests.unit.core.bundles import small_bundle
from tests.unit.fleet.api.servers import RunningFleet

HIGHEST = "999999999.999999999.999999999"


class _KilledError(Exception):
    pass


def _bundle(folder: Path, version: str) -> Path:
    path = folder / f"{version}.edgemm"
    small_bundle(path, version=version)
    return path


def _publish(client: FleetClient, folder: Path, version: str, minimum: str | None = None) -> object:
    return publish(client, _bundle(folder, version), minimum=minimum, progress=lambda done, total: None)


def _withdraw(client: FleetClient, *versions: str, minimum: str | None = None) -> Any:
    return publishing.withdraw(client, "digits", versions, minimum=minimum, force=False)


@pytest.fixture
def robbed(fleet: RunningFleet, publisher: FleetClient, tmp_path: Path) -> RunningFleet:
    for version, minimum in (("1.0.0", None), ("2.0.0", None), (HIGHEST, HIGHEST)):
        _publish(publisher, tmp_path, version, minimum)
    return fleet


def test_a_row_is_kept_and_marked_and_its_number_never_comes_back(
    robbed: RunningFleet, publisher: FleetClient, admin: FleetClient, tmp_path: Path
) -> None:
    done = _withdraw(admin, HIGHEST, minimum="1.0.0")
    assert (done.versions, done.minimum_version, done.running_count) == ((HIGHEST,), "1.0.0", 0)
    assert [(v.version, v.withdrawn_at is None) for v in admin.versions("digits")] == [
        (HIGHEST, False), ("2.0.0", True), ("1.0.0", True),
    ]  # fmt: skip
    assert admin.connection.call("GET", "/api/v1/overview", Overview).versions == 2
    with pytest.raises(ConflictError, match="its number is used up"):
        _publish(publisher, tmp_path, HIGHEST)
    _publish(publisher, tmp_path, "2.0.1")
    (line, *_) = [one for one in admin.audit() if one.action == "model.withdraw"]
    assert (line.actor, line.subject) == ("person:admin-person", "digits")
    assert line.detail == f"{HIGHEST}; minimum version 1.0.0"
    assert _withdraw(admin, HIGHEST).versions == (), "again is no error"


def test_a_publisher_s_token_withdraws_nothing(robbed: RunningFleet, publisher: FleetClient) -> None:
    with pytest.raises(PermissionDeniedError, match="role of admin"):
        _withdraw(publisher, "1.0.0")


def test_of_an_unknown_model_or_version_nothing_is_sent(robbed: RunningFleet, admin: FleetClient) -> None:
    with pytest.raises(InputError, match="nothing of it is published"):
        publishing.withdraw(admin, "other", ("1.0.0",), minimum=None, force=False)
    with pytest.raises(InputError, match=r"digits 3\.0\.0 is not published"):
        _withdraw(admin, "3.0.0")


def test_it_follows_what_is_published_meanwhile(
    robbed: RunningFleet, publisher: FleetClient, admin: FleetClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _withdraw(admin, HIGHEST, minimum="1.0.0")
    real = admin.withdraw

    def late(model: str, request: WithdrawalRequest) -> Any:
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        _publish(publisher, tmp_path, "3.0.0")
        return real(model, request)

    monkeypatch.setattr(admin, "withdraw", late)
    assert _withdraw(admin, "2.0.0").versions == ("2.0.0",)
    assert [v.version for v in admin.versions("digits") if v.withdrawn_at is None] == ["3.0.0", "1.0.0"]


@pytest.mark.parametrize("step", range(4))
def test_one_that_is_cut_short_is_made_or_not_and_never_half(
    robbed: RunningFleet, admin: FleetClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int
) -> None:
    if step < 3:  # role, snapshot, timestamp
        monkeypatch.setattr(durable, "write", _fails_at(step, durable.write))
    else:
        monkeypatch.setattr(api_models, "follow", _killed)
    with pytest.raises(EdgemmError):
        _withdraw(admin, HIGHEST, minimum="1.0.0")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    repository = VersionRepository(robbed.folder)
    catch_up(robbed.state.store, repository, now=robbed.clock())
    role = repository.role("digits")
    assert role is not None
    with robbed.state.store.read() as tx:
        model, row = models.find_model(tx, "digits"), models.get_version(tx, "digits", HIGHEST)
    assert model is not None
    made = step == 3
    assert (model.minimum_version, minimum_version(role.signed)) == (("1.0.0",) * 2 if made else (HIGHEST,) * 2)
    assert (row.withdrawn_at is not None, HIGHEST in withdrawn_of(role.signed)) == (made, made)
    _withdraw(admin, HIGHEST, minimum="1.0.0")
    assert [v.version for v in admin.versions("digits") if v.withdrawn_at is None] == ["2.0.0", "1.0.0"]


def _killed(*_args: object, **_more: object) -> NoReturn:
    raise _KilledError


def _fails_at(step: int, write: Callable[..., None]) -> Callable[..., None]:
    left = [step]

    def failing(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if "config" not in path.parts:  # of the command itself
            if left[0] == 0:
                raise EnvironmentFailure(f"killed before {path}")
            left[0] -= 1
        write(path, data, mode=mode)

    return failing
