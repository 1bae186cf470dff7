"""The commands `edgemm fleet init` and `edgemm fleet serve`: make a fleet, and run its manager."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from edgemm.configuration.options import FileArgument, FileRules, configured, origin
from edgemm.configuration.shown import configuration_text, hide_login
from edgemm.errors import EdgemmError, InputError
from edgemm.outlet import call_out, say, say_document
from edgemm.outlet.log_lines import LogFormat
from edgemm.outlet.log_rate import set_up_logging
from edgemm.sigterm import ended_by_sigterm
from edgemm.topics import NAME_PATTERN
from edgemm.transport.address import is_host
from edgemm_fleet.api import person_tokens
from edgemm_fleet.api.messages import PersonRequest
from edgemm_fleet.commands.broker_options import read_broker, read_login, read_mosquitto
from edgemm_fleet.commands.output import as_json_option, print_json
from edgemm_fleet.records.records import Role
from edgemm_fleet.server.process import FleetProcess, ServeSettings
from edgemm_fleet.server.python_settings import settle_python
from edgemm_fleet.server.retention import Retention
from edgemm_fleet.store import Migration, Transaction, audit
from edgemm_fleet.store.dialects.database_address import PostgresAddress
from edgemm_fleet.trust.fleet_folder import FleetConfig, FleetFolder
from edgemm_fleet.trust.founding import Founded, found

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
RULES = FileRules(secrets={"device_login": "put it into a file, and name that by device_login_file"})
_log = logging.getLogger(__name__)
_MOST_LINES = 100
"""Of what goes wrong, of each kind a minute: what strangers can cause fills no disk."""
_DAY_S = 86_400.0
_DAYS = click.IntRange(1, 36_500)
_ADMIN_TTL_S = 365 * _DAY_S


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--name", help="The fleet's name, part of every topic; the folder's name unless given.")
@click.option(
    "--public-url",
    default="https://localhost:8443",
    show_default=True,
    help="Where devices and people reach the server. Plain http:// works on loopback only.",
)
@click.option(
    "--root-keys", type=click.IntRange(1), default=1, show_default=True, help="How many root keys; 3 is a good number."
)
@click.option(
    "--root-threshold", type=click.IntRange(1), help="How many of them must sign: the larger half unless given."
)
@as_json_option
def init(
    folder: Path, *, name: str | None, public_url: str, root_keys: int, root_threshold: int | None, as_json: bool
) -> None:
    """Make a fleet in FOLDER: all keys, the TLS certificate, the database and the administrator's token.

    The token is printed this once.
    """
    name = name or folder.resolve().name.lower()
    if re.search(NAME_PATTERN, name) is None:
        raise InputError(f"fleet name {name!r}: expected 1 to 63 of a-z, 0-9, '-', '_'; give one with --name")
    texts: list[str] = []
    now = time.time()

    def furnish(tx: Transaction, tls_fingerprint: str | None) -> None:
        request = PersonRequest(person="admin", role=Role.ADMIN, ttl_s=_ADMIN_TTL_S)
        record, text = person_tokens.issue(tx, request, tls_fingerprint=tls_fingerprint, now=now)
        audit.add(tx, at=now, actor="init", action="people.add", subject="admin", detail=f"token {record.id}")
        texts.append(text)

    config = FleetConfig(name=name, public_url=public_url.rstrip("/"))
    threshold = root_threshold or root_keys // 2 + 1
    founded = found(folder, config, now=now, furnish=furnish, root_keys=root_keys, root_threshold=threshold)
    if as_json:
        print_json(_facts(founded, texts[0]))
    else:
        say(*_report(founded, texts[0]).splitlines())


@click.command()
@click.argument("folder", cls=FileArgument, type=FOLDER)
@configured(RULES)
@click.option(
    "--listen", help="HOST:PORT or PORT of the API, 0: a free one; what follows from the public URL unless given."
)
@click.option("--public-url", help="Where devices and people reach the server, if not as `init` was told.")
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy of this machine asks, which has TLS, tells addresses and sends blobs: docs/nginx.md.",
)
@click.option(
    "--broker",
    default="embedded",
    show_default=True,
    help="embedded, embedded:PORT, or mqtt(s)://[USER:PASSWORD@]HOST[:PORT] of another one; `ps` shows a password.",
)
@click.option("--broker-login-file", type=FILE, help="A file with the manager's USER:PASSWORD at another broker.")
@click.option(
    "--device-login", help="USER:PASSWORD of all devices at another broker, without --mosquitto; `ps` shows it."
)
@click.option("--device-login-file", type=FILE, help="A file with what --device-login gives.")
@click.option(
    "--mosquitto",
    type=FOLDER,
    help="Generate Mosquitto's files in this folder, with a login for each device, and use that broker.",
)
@click.option("--mosquitto-pid", type=click.Path(path_type=Path), help="File with Mosquitto's process id.")
@click.option("--mosquitto-reload", metavar="COMMAND", help="Has Mosquitto read its files again, in place of a signal.")
@click.option(
    "--mosquitto-certificate",
    type=FILE,
    help="PEM that Mosquitto is to show with mqtts:// in place of the fleet's own certificate, which devices pin.",
)
@click.option("--mosquitto-key", type=FILE, help="The private key of that certificate, PEM.")
@click.option(
    "--broker-ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM of the certificate that a broker with mqtts:// has, or that signed it; its names do not matter then.",
)
@click.option(
    "--db",
    envvar="EDGEMM_FLEET_DB",
    show_envvar=True,
    metavar="URL",
    help="postgresql://[USER@]HOST[:PORT]/DATABASE, without a password: docs/databases.md. SQLite in FOLDER, or what "
    "was given the last time, unless given.",
)
@click.option("--keep-telemetry", type=_DAYS, default=30, show_default=True, help="Days; of windows at most 7.")
@click.option("--keep-events", type=_DAYS, default=365, show_default=True, help="For how many days.")
@click.option("--page/--no-page", default=True, help="Serve the page for people under /.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, not only what goes wrong.")
@click.option(
    "--log-format",
    type=click.Choice([form.value for form in LogFormat]),
    default=LogFormat.TEXT.value,
    show_default=True,
    help="json: each line of the log is a document with the event and its fields.",
)
def serve(
    folder: Path,
    *,
    listen: str | None,
    public_url: str | None,
    behind_proxy: bool,
    broker: str,
    broker_login_file: Path | None,
    device_login: str | None,
    device_login_file: Path | None,
    mosquitto: Path | None,
    mosquitto_pid: Path | None,
    mosquitto_reload: str | None,
    mosquitto_certificate: Path | None,
    mosquitto_key: Path | None,
    broker_ca: Path | None,
    db: str | None,
    keep_telemetry: int,
    keep_events: int,
    page: bool,
    verbose: bool,
    log_format: str,
    config: Path | None,
    print_config: bool,
) -> None:
    """Run the fleet manager on FOLDER until it is told to stop (SIGTERM or Ctrl-C).

    A database of an earlier edgemm is copied, beside it, and migrated first. SIGHUP has the API take the certificate
    that lies in the folder by then, for new connections.
    """
    context = click.get_current_context()
    if origin(context, "broker") == "file" and hide_login(broker) != broker:
        raise InputError(f"{config}: broker: not with a login: put that into a file, and name it by broker_login_file")
    database = None if db is None else PostgresAddress.parse(db)
    if print_config:
        say_document(configuration_text(context, RULES))
        return
    host, port = _listen(listen)
    chosen = read_broker(
        broker,
        login=read_login(None, broker_login_file, option="--broker-login"),
        device_login=read_login(device_login, device_login_file, option="--device-login"),
        mosquitto=read_mosquitto(
            mosquitto,
            pid_file=mosquitto_pid,
            reload_command=mosquitto_reload,
            certificate=mosquitto_certificate,
            key=mosquitto_key,
        ),
        ca=broker_ca,
    )
    retention = Retention(telemetry_s=keep_telemetry * _DAY_S, events_s=keep_events * _DAY_S)
    settings = ServeSettings(
        host=host,
        port=port,
        public_url=public_url,
        behind_proxy=behind_proxy,
        broker=chosen,
        database=database,
        page=page,
        retention=retention,
    )
    server = FleetProcess(FleetFolder(folder), settings, migrated=_tell_migration)
    _set_up_logging(verbose=verbose, form=LogFormat(log_format))
    settle_python()
    with ended_by_sigterm() as wait_for_end, server, _renewed_by_sighup(server):
        _tell_addresses(server, page=page)
        wait_for_end()
    call_out("stopped")


def _tell_addresses(server: FleetProcess, *, page: bool) -> None:
    if page:
        call_out(f"page    {server.url}/")
    call_out(f"API     {server.url}/api/v1")
    call_out(f"broker  {server.broker_address}")
    call_out(f"serving fleet {server.config.name}; stop with Ctrl-C")


@contextmanager
def _renewed_by_sighup(server: FleetProcess) -> Iterator[None]:
    def renew(*_: object) -> None:
        try:
            server.renew_certificate()
        except EdgemmError as err:
            _log.error("certificate not renewed error=%s", err)
        else:
            _log.info("certificate renewed")

    before = signal.signal(signal.SIGHUP, renew)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _tell_migration(migration: Migration) -> None:
    copy = "" if migration.copy is None else f"; a copy of before is {migration.copy}"
    call_out(f"database migrated from {migration.old} to {migration.new}{copy}")


def _facts(founded: Founded, token: str) -> dict[str, object]:
    return {
        "fleet": founded.config.name,
        "folder": str(founded.folder.root),
        "public_url": founded.config.public_url,
        "tls_fingerprint": founded.tls_fingerprint,
        "root_digest": founded.root_digest,
        "token": token,
    }


def _report(founded: Founded, token: str) -> str:
    root, url = founded.folder.root, founded.config.public_url
    pin = f"\ncertificate  sha256 {founded.tls_fingerprint}" if founded.tls_fingerprint else ""
    return f"""\
fleet        {founded.config.name} in {root}
public URL   {url}{pin}

Take {root}/offline-keys offline once your models are authorised: the root and targets keys in it can
make every device run anything. Copy them to a medium that you lock away, then delete them here.
The server goes on without them; README.txt there says how to authorise a publisher then.
A lone root key that is lost cannot be replaced: `init --root-keys 3` makes three, of which two sign.

The administrator's token, shown this once:

    {token}

Next:

    edgemm fleet serve {root}
    edgemm fleet login {url}   # asks for the token

The page, logged in: {url}/#token={token}"""


def _listen(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    match = re.fullmatch(r"(?:\[?([^\[\]]*?)\]?:)?(\d{1,5})", text)
    if match is None or not int(match[2]) < 65536 or (match[1] and not is_host(match[1], listens=True)):
        raise InputError(f"--listen {text!r}: expected HOST:PORT or PORT")
    return match[1] or None, int(match[2])


def _set_up_logging(*, verbose: bool, form: LogFormat) -> None:
    level = "info" if verbose else "warning"
    set_up_logging(level=level, most=_MOST_LINES, least=logging.WARNING, form=form)
    # amqtt and its state machine tell every packet at INFO.
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.ERROR)
