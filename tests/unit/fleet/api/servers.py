"""A fleet's HTTP API over a real server on loopback, with a clock that tests set."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3

from edgemm.bundle.blobs import BlobFolder
from edgemm.trust import signing
from edgemm_fleet.api import person_tokens
from edgemm_fleet.api.app import create_app
from edgemm_fleet.api.context import ApiLimits, FleetState
from edgemm_fleet.api.messages import PersonRequest
from edgemm_fleet.api.table import routes
from edgemm_fleet.broker import EmbeddedCredentials
from edgemm_fleet.broker.broker_settings import BrokerSettings
from edgemm_fleet.client.profile import Profile
from edgemm_fleet.director.action_requests import ActionRequests
from edgemm_fleet.director.director import Director
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.health.vitals import Vitals
from edgemm_fleet.http.http_server import HttpServer, HttpSettings
from edgemm_fleet.records.records import Role
from edgemm_fleet.rollout.operations import RolloutOperations
from edgemm_fleet.rollout.runner import Runner
from edgemm_fleet.server.request_lanes import RequestLanes
from edgemm_fleet.shadows.operations import ShadowOperations
from edgemm_fleet.store import Store, Transaction
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_fleet.trust.founding import found
from edgemm_fleet.trust.keys import read_secret
from edgemm_fleet.trust.time_statements import TimeStatements
from edgemm_fleet.trust.version_repository import VersionRepository
from edgemm_fleet.web import page


class Clock:
    """The real time, and what tests add to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class RunningFleet:
    """A served fleet and a token for each role."""

    state: FleetState
    folder: FleetFolder
    url: str
    clock: Clock
    tokens: dict[str, str]
    devices: list[str] = field(default_factory=list)

    def profile(self, role: str = "admin") -> Profile:
        return Profile(
            url=self.url,
            token=self.tokens[role],
            tls_fingerprint=self.state.tls_fingerprint,
            root=self.state.repository.root_bytes.decode(),
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "admin",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> urllib3.BaseHTTPResponse:
        bearer = self.tokens.get(token, token) if token else None
        sent = dict(headers or {})
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        pin = self.state.tls_fingerprint
        security: dict[str, Any] = (
            {"assert_fingerprint": pin, "cert_reqs": "CERT_NONE", "assert_hostname": False} if pin else {}
        )
        with urllib3.PoolManager(retries=False, **security) as pool:
            return pool.request(method, self.url + path, headers=sent, **options)


@contextmanager
def serving(
    path: Path, *, scheme: str = "http", limits: ApiLimits | None = None, with_page: bool = False
) -> Iterator[RunningFleet]:
    """Found a fleet at `path` and serve its API until the block ends."""
    clock = Clock()
    tokens: dict[str, str] = {}

    def furnish(tx: Transaction, pin: str | None) -> None:
        for role in Role:
            request = PersonRequest(person=f"{role}-person", role=role)
            _, tokens[role.value] = person_tokens.issue(tx, request, tls_fingerprint=pin, now=clock())

    config = FleetConfig(name="plant", public_url=f"{scheme}://127.0.0.1:1")
    founded = found(path, config, now=clock(), furnish=furnish)
    folder = founded.folder
    store = Store.open(folder.database)
    director = Director("plant", signing.load_key(folder.online_key("director")))
    repository = VersionRepository(folder)
    state = FleetState(
        fleet="plant",
        public_url=founded.config.public_url,
        store=store,
        repository=repository,
        blobs=BlobFolder(folder.blobs),
        credentials=EmbeddedCredentials(BrokerSettings(), lambda: None),
        secret=read_secret(folder.credentials_key),
        rollouts=RolloutOperations(store, Runner(director), wake=lambda: None),
        shadows=ShadowOperations(store, director, wake=lambda: None),
        actions=ActionRequests(store, director, wake=lambda: None),
        time_statements=TimeStatements("plant", repository.time_signer),
        vitals=Vitals(store, Hearing(), folder.root),
        limits=limits or ApiLimits(),
        clock=clock,
    )
    secure = scheme == "https"
    certificate, key = (folder.certificate, folder.certificate_key) if secure else (None, None)
    app = create_app(state, routes(), page=page("plant") if with_page else None)
    server = HttpServer(
        app, HttpSettings("127.0.0.1", 0, certificate, key, lane_of=RequestLanes(routes(), state.wrong_tokens))
    )
    server.start()
    try:
        yield RunningFleet(state, folder, f"{scheme}://127.0.0.1:{server.port}", clock, tokens)
    finally:
        server.stop()
        store.close()


def now_utc() -> datetime:
    return datetime.now(UTC)
