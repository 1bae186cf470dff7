"""The commands `edgemm fleet cert`: the server's certificate, renewed without losing a device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from edgemm.errors import ConflictError, InputError
from edgemm.outlet import say
from edgemm.times import to_text
from edgemm.trust.addresses import ADDRESSES_TARGET
from edgemm_fleet.commands.fleet_keys import key_option, propose_option, settle
from edgemm_fleet.commands.on_server import folder_option, load_keys, moment_now, note, open_folder
from edgemm_fleet.commands.output import as_json_option, moment, print_json, report
from edgemm_fleet.store import Store, devices
from edgemm_fleet.trust import announcement, next_certificate
from edgemm_fleet.trust.ceremony import propose_documents
from edgemm_fleet.trust.certificate import end_of, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.founding import check_public_url
from edgemm_fleet.trust.version_repository import VersionRepository

LOOK_S = 2 * 3600.0
"""Within so long after an announcement a device that is online has looked, with a margin."""
_MOST_SHOWN = 10
_MOST_COUNTED = 1000
_WAY_BACK = "for devices that are cut off: edgemm fleet cert switch --back"


@click.group()
def cert() -> None:
    """The server's certificate: show, renew, switch to the new one, revoke the old one."""


@cert.command("show")
@folder_option
@as_json_option
def show_certificate(folder: Path, *, as_json: bool) -> None:
    """Show the certificate in use, and the one that is prepared."""
    own = open_folder(folder)
    next_certificate.finish_switch(own)
    found = {
        "in use": own.certificate,
        "prepared": next_certificate.next_certificate(own),
        "previous": next_certificate.previous_certificate(own),
    }
    shown = {what: (fingerprint(path), end_of(path.read_text())) for what, path in found.items() if path.exists()}
    if as_json:
        print_json({what: {"fingerprint": pin, "until": until} for what, (pin, until) in shown.items()})
        return
    for what, (pin, until) in shown.items():
        say(f"{what:<9} sha256 {pin}  until {moment(until)}")


@cert.command("renew")
@folder_option
@key_option
@propose_option
@as_json_option
def renew(folder: Path, *, keys: tuple[Path, ...], propose: Path | None, as_json: bool) -> None:
    """Prepare a new certificate and announce it to devices, beside the one in use; the targets key signs.

    The server goes on with the old one until `edgemm fleet cert switch`.
    """
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    own = repository.folder
    addresses = announcement.standing(repository)
    urls = [own.read_config().public_url, *(one.url for one in addresses.servers)]
    path = next_certificate.prepare(own, names=_hosts(urls), now=moment_now())
    wanted = announcement.with_certificate(addresses, old=own.certificate.read_text(), new=path.read_text())
    if wanted == addresses:
        if announcement.pin(path.read_text()) not in {one for server in addresses.servers for one in server.pins}:
            raise InputError("devices are told of no server with the certificate in use: edgemm fleet addresses show")
        report("it is announced already; next: edgemm fleet cert switch", as_json=as_json, state="announced")
        return
    made = propose_documents(repository, {ADDRESSES_TARGET: announcement.document(wanted)}, now=moment_now())
    settle(repository, made, load_keys(keys), propose, as_json=as_json)
    if not as_json and propose is None:
        say("devices that are online know it within the hour; then: edgemm fleet cert switch", err=True)


@cert.command("switch")
@folder_option
@click.option("--anyway", is_flag=True, help="Though some devices cannot have heard of it.")
@click.option("--back", is_flag=True, help="Put the one of before into use again, for devices that missed the change.")
@as_json_option
def switch(folder: Path, *, anyway: bool, back: bool, as_json: bool) -> None:
    """Put the prepared certificate into use, if every device can have heard of it; a running manager follows.

    Tokens that were made before, and people's logins, pin the old one: people log in again with --fingerprint.
    """
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    own = repository.folder
    path = next_certificate.next_certificate(own)
    if back:
        next_certificate.prepare_previous(own)
    if path.exists():
        _check_announced(repository, path, anyway=anyway)
    pin = next_certificate.switch(own)
    note(own, "cert.switch", pin[:12], "")
    report(f"in use from now on: sha256 {pin}", as_json=as_json, fingerprint=pin)
    if not as_json:
        say(f"people log in again: edgemm fleet login URL --fingerprint {pin}", err=True)


@cert.command("revoke")
@folder_option
@key_option
@propose_option
@as_json_option
def revoke(folder: Path, *, keys: tuple[Path, ...], propose: Path | None, as_json: bool) -> None:
    """Have devices trust the certificate in use alone, and none of before: the key of an old one was stolen.

    A device that never heard of the one in use is locked out by the switch, not by this.
    """
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    addresses = announcement.standing(repository)
    wanted = announcement.without_others(addresses, certificate=repository.folder.certificate.read_text())
    if wanted == addresses:
        if not next_certificate.is_previous_among(repository.folder, addresses.revoked):
            raise ConflictError("devices are told of no other certificate; nothing is to be revoked")
        next_certificate.forget_previous(repository.folder)  # a revocation that was killed left it behind
        report("it is revoked already, and its key is deleted now", as_json=as_json, state="revoked")
        return
    made = propose_documents(repository, {ADDRESSES_TARGET: announcement.document(wanted)}, now=moment_now())
    settle(repository, made, load_keys(keys), propose, as_json=as_json)
    if propose is None:
        next_certificate.forget_previous(repository.folder)


def _hosts(urls: Iterable[str]) -> list[str]:
    """Return the hosts of URLs; what was announced by a mistake of before, and is none, is left out."""
    found = []
    for url in urls:
        with suppress(InputError):
            found.append(check_public_url(url))
    return found


def _check_announced(repository: VersionRepository, path: Path, *, anyway: bool) -> None:
    addresses = announcement.announced(repository)
    pin = announcement.pin(path.read_text())
    if addresses is None or pin not in {one for server in addresses.servers for one in server.pins}:
        raise ConflictError("the prepared certificate is not announced yet: edgemm fleet cert renew")
    previous = next_certificate.previous_certificate(repository.folder)
    if previous.exists() and fingerprint(previous) == pin:
        return  # it was in use: whoever missed the one of now knows this one
    known_from = math.ceil(repository.written_at(ADDRESSES_TARGET) + LOOK_S)
    unaware = _unaware(repository.folder, known_from)
    if anyway:
        if unaware:
            say(f"{_unheard(unaware)}; {_WAY_BACK}", err=True)
        return
    if time.time() < known_from:
        raise ConflictError(
            f"devices look once an hour, and all that are online know it from {to_text(known_from)} on: wait until "
            f"then, or say --anyway; {_unheard(unaware) if unaware else 'no device is cut off'}; {_WAY_BACK}"
        )
    if unaware:
        raise ConflictError(f"{_unheard(unaware)}; wait for them, or say --anyway: {_WAY_BACK}")


def _unheard(names: list[str]) -> str:
    """Say which devices may not know the new certificate; nobody knows that they do not."""
    shown = ", ".join(names[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
    count = f"{len(names)}" if len(names) <= _MOST_COUNTED else f"more than {_MOST_COUNTED}"
    return f"nothing shows yet that these devices know more than the old certificate: {count} ({shown})"


def _unaware(folder: FleetFolder, since: float) -> list[str]:
    store = Store.join(folder.database_address())
    try:
        with store.read() as tx:
            return devices.silent_since(tx, since, limit=_MOST_COUNTED + 1)
    finally:
        store.close()
