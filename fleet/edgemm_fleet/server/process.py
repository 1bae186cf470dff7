"""The fleet server: the manager, the HTTP API and the page in one process, from one fleet folder.

with FleetProcess(folder, settings) as server:
    print(server.url)
    …
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from flask import Flask

from edgemm import canonical, durable
from edgemm.bundle.blobs import BlobFolder
from edgemm.errors import InputError
from edgemm.transport.address import is_loopback
from edgemm.trust import signing
from edgemm.trust.addresses import BrokerAddress
from edgemm_fleet.api.app import create_app
from edgemm_fleet.api.context import FleetState, moment
from edgemm_fleet.api.table import routes
from edgemm_fleet.broker.broker_settings import BrokerSettings, Provider, TlsFiles
from edgemm_fleet.clock import ManagerClock, check_clock
from edgemm_fleet.health.vitals import Vitals
from edgemm_fleet.http.environ import ProxiedFiles
from edgemm_fleet.http.http_server import HttpServer, HttpSettings, check_plain
from edgemm_fleet.secrets.wrong_tokens import WrongTokens
from edgemm_fleet.server.database_of_folder import open_database
from edgemm_fleet.server.manager_facts import hearing_of
from edgemm_fleet.server.request_lanes import RequestLanes
from edgemm_fleet.server.retention import Retention
from edgemm_fleet.server.services import FleetServices, ManagerSettings
from edgemm_fleet.server.upkeep import Upkeep, Watched
from edgemm_fleet.store import Migration, Store
from edgemm_fleet.store.dialects.database_address import DatabaseAddress
from edgemm_fleet.trust.catalogue import catch_up
from edgemm_fleet.trust.fleet_folder import FleetFolder, FolderLock
from edgemm_fleet.trust.founding import check_public_url
from edgemm_fleet.trust.keys import read_secret
from edgemm_fleet.trust.next_certificate import finish_switch
from edgemm_fleet.trust.time_statements import TimeStatements
from edgemm_fleet.trust.version_repository import VersionRepository
from edgemm_fleet.web import page
from edgemm_fleet.worker import Worker

logger = logging.getLogger(__name__)
_DEFAULT_PORTS = {"https": 443, "http": 80}
PROXIED_BLOBS = "/edgemm-blobs/"
"""Where a proxy in front finds the blobs that it is told to send; nobody else may ask it for them."""


@dataclass(frozen=True)
class ServeSettings:
    """How to serve a fleet folder; None means what follows from its public URL.

    Port 0 takes a free one, which is then also the public URL's unless that is given here.
    """

    host: str | None = None
    port: int | None = None
    public_url: str | None = None
    behind_proxy: bool = False
    """A proxy on this machine has the public URL's TLS, with the folder's certificate, and sends the blobs."""

    broker: BrokerSettings = field(default_factory=BrokerSettings)
    database: DatabaseAddress | None = None
    """Where the database is, if not where the folder says."""

    page: bool = True
    retention: Retention = field(default_factory=Retention)


class FleetProcess:
    """Serves a fleet folder; a context manager that starts and stops all of it."""

    def __init__(
        self,
        folder: FleetFolder,
        settings: ServeSettings,
        *,
        migrated: Callable[[Migration], None] | None = None,
    ) -> None:
        """Read the configuration; `migrated` is told where the start migrates the database, which else is logged.

        Raises:
            InputError: the folder is not a fleet's, or the public URL cannot be one.
            NewerFormatError: a later edgemm made the folder.
        """
        # Flask takes a relative path as relative to its own package.
        self.folder = FleetFolder(folder.root.absolute())
        self.settings, self._migrated = settings, migrated
        self.config = folder.read_config()
        self.url = (settings.public_url or self.config.public_url).rstrip("/")
        self._public_host = check_public_url(self.url)
        self._tls = self.url.startswith("https:")
        if settings.behind_proxy and (settings.host is None or not settings.port):
            raise InputError("--behind-proxy: give the address that the proxy asks, such as --listen 127.0.0.1:8080")
        if not self._tls or settings.behind_proxy:
            check_plain(self._http_host())
        self._stack = ExitStack()
        self.manager: FleetServices | None = None
        self._http: HttpServer | None = None

    def __enter__(self) -> Self:
        """Start; a database of an earlier edgemm is migrated first.

        Raises:
            NewerFormatError: a later edgemm wrote the database.
            EnvironmentFailure: a port is taken, the folder is in use, the disk is full, or the clock cannot be right.
        """
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def broker_address(self) -> str:
        """Where devices find the broker, as a URL."""
        assert self.manager is not None
        return self.manager.broker_settings.url

    def renew_certificate(self) -> None:
        """Have new connections get the certificate that lies in the folder now; none that is open ends.

        Raises:
            InputError: it cannot be used by the API, so the one before stays in use.
            EnvironmentFailure: it cannot be used by the broker.
        """
        if self._http is not None:
            self._http.renew_certificate()
        if self.manager is not None:
            self.manager.renew_certificate()
            self._note_broker(self.manager.broker_settings)

    def _start(self, stack: ExitStack) -> None:
        now = time.time()
        check_clock(now)
        stack.enter_context(FolderLock(self.folder))
        for directory in (self.folder.blobs, self.folder.metadata, self.folder.targets):
            durable.remove_leftovers(directory)
        finish_switch(self.folder)
        self.folder.check_whole(tls=self._tls and not self.settings.behind_proxy)
        store = open_database(self.folder, self.settings.database, migrated=self._migrated)
        stack.callback(store.close)
        repository = VersionRepository(self.folder)
        repository.resume(now=moment(now))
        repository.shrink(now=moment(now))
        catch_up(store, repository, now=now)
        director_key = repository.keys.online("director")
        clock = ManagerClock()
        manager = self.manager = FleetServices(
            self._manager_settings(), store=store, director_key=director_key, clock=clock
        )
        stack.callback(manager.stop)
        manager.start()
        self._note_broker(manager.broker_settings)
        wrong_tokens = WrongTokens()
        settings = replace(self._http_settings(), lane_of=RequestLanes(routes(), wrong_tokens))
        server = self._http = HttpServer(_unready, settings)
        stack.callback(server.stop)
        server.bind()
        if self.settings.port == 0 and self.settings.public_url is None:
            self.url = urlsplit(self.url)._replace(netloc=_authority(self._public_host, server.port)).geturl()
        state = replace(self._state(store, repository, manager, server, clock), wrong_tokens=wrong_tokens)
        server.start(self._app(state))
        upkeep = Worker("edgemm-upkeep", self._upkeep(state, manager, clock).step)
        upkeep.start()
        stack.callback(upkeep.stop)

    def _manager_settings(self) -> ManagerSettings:
        broker = self.settings.broker
        if broker.provider is Provider.EMBEDDED:
            files = self._own_files() if self._tls else None
            broker = replace(broker, host=self._broker_host(), device_host=self._public_host, files=files)
        elif broker.mosquitto is not None and broker.tls and broker.mosquitto.files is None:
            broker = replace(broker, files=self._own_files())
        return ManagerSettings(self.config.name, broker, retention=self.settings.retention)

    def _own_files(self) -> TlsFiles:
        return TlsFiles(self.folder.certificate, self.folder.certificate_key)

    def _state(
        self,
        store: Store,
        repository: VersionRepository,
        manager: FleetServices,
        http: HttpServer,
        clock: ManagerClock,
    ) -> FleetState:
        return FleetState(
            fleet=self.config.name,
            public_url=self.url,
            store=store,
            repository=repository,
            blobs=BlobFolder(self.folder.blobs),
            credentials=manager.credentials,
            secret=read_secret(self.folder.credentials_key),
            rollouts=manager.operations,
            shadows=manager.shadows,
            actions=manager.actions,
            time_statements=TimeStatements(self.config.name, repository.time_signer, settled=lambda: clock.settled),
            clock=clock,
            vitals=Vitals(store, hearing_of(manager, http, clock), self.folder.root),
            foreign_certificates=self._foreign_certificates(),
        )

    def _foreign_certificates(self) -> dict[str, str | Path]:
        broker = self.settings.broker
        found: dict[str, str | Path] = {} if broker.ca is None else {"broker": broker.ca}
        if broker.mosquitto is not None and (files := broker.mosquitto.files) is not None:
            found["mosquitto"] = files.certificate
        return found

    def _upkeep(self, state: FleetState, manager: FleetServices, clock: ManagerClock) -> Upkeep:
        key = self.folder.online_key("director")
        director = Watched([key], lambda: manager.use_director(signing.load_key(key)))
        watched = [director]
        mosquitto = self.settings.broker.mosquitto
        if self._tls or mosquitto is not None:
            watched.append(Watched([self.folder.certificate], self.renew_certificate))
        if mosquitto is not None and (other := mosquitto.files) is not None:
            watched.append(Watched([other.certificate, other.private_key], manager.renew_certificate))
        return Upkeep(state.repository, state.expiries, watched, clock)

    def _note_broker(self, broker: BrokerSettings) -> None:
        """Note where devices find the broker, for commands that announce it."""
        access = broker.device_access("", "")
        note = BrokerAddress(host=access.host, port=access.port, tls=access.tls, ca=access.ca)
        data = canonical.encode(note)
        path = self.folder.broker_note
        if not path.exists() or path.read_bytes() != data:
            durable.write(path, data)

    def _app(self, state: FleetState) -> Flask:
        return create_app(state, routes(), page=page(self.config.name) if self.settings.page else None)

    def _http_settings(self) -> HttpSettings:
        parts = urlsplit(self.url)
        given = self.settings.port
        port = given if given is not None else parts.port or _DEFAULT_PORTS[parts.scheme]
        if self.settings.behind_proxy:
            blobs = ProxiedFiles(self.folder.blobs, PROXIED_BLOBS)
            return HttpSettings(self._http_host(), port, behind_proxy=True, proxied=blobs)
        if not self._tls:
            return HttpSettings(self._http_host(), port)
        return HttpSettings(self._http_host(), port, self.folder.certificate, self.folder.certificate_key)

    def _http_host(self) -> str:
        return self.settings.host if self.settings.host is not None else self._public_listen_host()

    def _broker_host(self) -> str:
        """The embedded broker listens where the API does; behind a proxy, which has no MQTT, where the proxy does."""
        return self._public_listen_host() if self.settings.behind_proxy else self._http_host()

    def _public_listen_host(self) -> str:
        """Listen to everybody unless the fleet's URL is for this machine alone."""
        return "127.0.0.1" if is_loopback(self._public_host) else "0.0.0.0"  # noqa: S104 - a fleet is to be reached


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unready(_environ: object, _start_response: object) -> list[bytes]:
    raise AssertionError("the port is bound and nobody is answered yet")
