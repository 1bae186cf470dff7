"""The commands `edgemm fleet addresses`: where devices look for their fleet, announced before it is used."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from edgemm.errors import InputError
from edgemm.outlet import say
from edgemm.transport.address import BROKER, split_address
from edgemm.trust.addresses import ADDRESSES_TARGET, BrokerAddress, ServerAddress, described
from edgemm_fleet.commands.fleet_keys import key_option, propose_option, settle
from edgemm_fleet.commands.on_server import folder_option, load_keys, moment_now, open_folder
from edgemm_fleet.commands.output import as_json_option, print_json
from edgemm_fleet.trust import announcement
from edgemm_fleet.trust.ceremony import propose_documents
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.founding import check_public_url
from edgemm_fleet.trust.version_repository import VersionRepository

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def addresses() -> None:
    """Where devices look for their fleet: announce a new address before it is used."""


@addresses.command("show")
@folder_option
@as_json_option
def show_addresses(folder: Path, *, as_json: bool) -> None:
    """Show the addresses that devices try, in their order; the one of its enrolment comes last on each."""
    found = announcement.announced(VersionRepository(open_folder(folder)))
    if as_json:
        print_json(found)
        return
    say(*(described(found) if found else ["nothing is announced; devices go by their enrolment"]))


@addresses.command("announce")
@folder_option
@click.option("--url", "urls", multiple=True, help="A URL of the fleet manager that devices are to try first.")
@click.option(
    "--broker", "brokers", multiple=True, metavar="URL", help="mqtt(s)://HOST:PORT that they are to try first."
)
@click.option("--broker-ca", type=_FILE, help="PEM of the certificate that those brokers have, or that signed it.")
@click.option("--drop", multiple=True, metavar="TEXT", help="A URL or HOST:PORT that they are to try no more.")
@key_option
@propose_option
@as_json_option
def announce(
    folder: Path,
    *,
    urls: tuple[str, ...],
    brokers: tuple[str, ...],
    broker_ca: Path | None,
    drop: tuple[str, ...],
    keys: tuple[Path, ...],
    propose: Path | None,
    as_json: bool,
) -> None:
    """Tell enrolled devices of new addresses, which they try first; those of before stay as the fall-back.

    Announce an address before it is used: devices that are online know it within the hour.
    """
    for url in urls:
        check_public_url(url, what="--url")
    for url in brokers:
        split_address(url, BROKER, what="--broker")
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    own = announcement.standing(repository)
    pins = announcement.pins_beside(own, fingerprint(repository.folder.certificate))
    ca = None if broker_ca is None else _read_ca(broker_ca)
    wanted = announcement.with_servers(own, [_server(url, pins) for url in urls])
    wanted = announcement.with_brokers(wanted, [_broker(url, ca, own.brokers) for url in brokers])
    wanted = announcement.without(wanted, drop)
    data = announcement.document(wanted)
    made = propose_documents(repository, {ADDRESSES_TARGET: data}, now=moment_now())
    settle(repository, made, load_keys(keys), propose, as_json=as_json)
    if urls and propose is None:
        repository.folder.write_config(replace(repository.folder.read_config(), public_url=urls[0].rstrip("/")))
        say(f"new tokens name {urls[0]} from the manager's next start on", err=True)


def _server(url: str, pins: tuple[str, ...]) -> ServerAddress:
    return ServerAddress(url=url.rstrip("/"), pins=pins if url.startswith("https:") else ())


def _broker(url: str, ca: str | None, known: tuple[BrokerAddress, ...]) -> BrokerAddress:
    parts = split_address(url, BROKER, what="--broker")
    tls = parts.scheme == "mqtts"
    if tls and ca is None:
        # The broker that devices know, under another name or port.
        ca = next((one.ca for one in known if one.ca is not None), None)
    port = parts.port or (8883 if tls else 1883)
    return BrokerAddress(host=parts.hostname or "", port=port, tls=tls, ca=ca if tls else None)


def _read_ca(path: Path) -> str:
    try:
        text = path.read_text("ascii")
        announcement.pin(text)
    except (OSError, ValueError) as err:
        raise InputError(f"--broker-ca {path}: expected a certificate in PEM: {err}") from err
    return text
