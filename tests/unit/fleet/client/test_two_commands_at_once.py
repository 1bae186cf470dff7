"""Two commands at once on one model: neither is lost, neither gets in between the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from edgemm.bundle import open_bundle
from edgemm.errors import ConflictError, PermissionDeniedError
from edgemm.states import RolloutState
from edgemm.trust.signing import key_document
from edgemm_fleet.api.messages import AuthorisationRequest
from edgemm_fleet.client import FleetClient
from edgemm_fleet.client.publishing import publish
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store import models, rollouts
from edgemm_fleet.trust import roles
from edgemm_fleet.trust.catalogue import record_version
from edgemm_fleet.trust.publication import Publication
from simulators.managed import ManagedFleet
from tests.unit.core.bundles import small_bundle
from tests.unit.fleet.api.servers import RunningFleet


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all at one time; return what each returned, or how it failed."""

    def outcome(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (ConflictError, PermissionDeniedError) as err:
            return err

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(outcome, acts))


def test_versions_that_are_published_at_once_all_become_versions(fleet: RunningFleet, tmp_path: Path) -> None:
    versions = [f"1.{number}.0" for number in range(4)]
    for version in versions:
        small_bundle(tmp_path / f"{version}.edgemm", version=version)

    def one(version: str) -> Callable[[], Any]:
        def act() -> Any:
            with FleetClient(fleet.profile("publisher")) as client:
                path = tmp_path / f"{version}.edgemm"
                return publish(client, path, minimum=None, progress=lambda *_: None).record.version

        return act

    assert at_once(*map(one, versions)) == versions
    targets = fleet.state.repository.role("digits")
    assert targets is not None
    assert {path.rpartition("/")[2] for path in targets.signed.targets} == {f"{version}.json" for version in versions}
    assert len(roles.model_keys(fleet.state.repository.targets, "digits")) == 1, "one user has one key"


def test_of_two_publishers_of_a_new_model_one_gets_it(fleet: RunningFleet) -> None:
    keys = [CryptoSigner.generate_ed25519().public_key for _ in range(8)]

    def one(key: Any) -> Callable[[], Any]:
        def act() -> Any:
            with FleetClient(fleet.profile("publisher")) as client:
                return client.authorise("digits", AuthorisationRequest(public_key=key_document(key)))

        return act

    outcomes = at_once(*map(one, keys))
    assert sum(isinstance(outcome, PermissionDeniedError) for outcome in outcomes) == 7, outcomes
    assert len(roles.model_keys(fleet.state.repository.targets, "digits")) == 1


def test_of_two_that_were_published_at_once_the_later_minimum_holds_whichever_is_recorded_last(
    fleet: RunningFleet, publisher: FleetClient, tmp_path: Path
) -> None:
    publications = []
    for version, minimum in (("1.0.0", "0.5.0"), ("2.0.0", "1.0.0")):
        path = tmp_path / f"{version}.edgemm"
        small_bundle(path, version=version)
        publish(publisher, path, minimum=minimum, progress=lambda *_: None)
        role = fleet.state.repository.role("digits")
        assert role is not None
        with open_bundle(path) as bundle:
            publications.append(Publication(bundle.manifest, bundle.manifest_bytes, role))
    with fleet.state.store.write() as tx:
        record_version(tx, fleet.state.repository, publications[0], actor="person:ann", now=1.0)
        model = models.find_model(tx, "digits")
    assert model is not None
    assert model.minimum_version == "1.0.0"


def test_of_rollouts_that_are_started_at_once_one_runs(tmp_path: Path) -> None:
    with ManagedFleet(tmp_path) as managed:
        managed.enrol("cam-1")  # it is never there: the first rollout goes on
        outcomes = at_once(*[lambda: managed.start("1.0.0", Group(count=1))] * 6)
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 1, outcomes
        with managed.store.read() as tx:
            states = list(rollouts.state_counts(tx).items())
        started = sum(number for state, number in states if state is not RolloutState.DRAFT)
    assert started == 1
