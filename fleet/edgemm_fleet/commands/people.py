"""The commands `edgemm fleet login`, `token`, `people` and `audit`: access to a fleet, and its audit log."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

import click
import msgspec

from edgemm.configuration.secret_file import read_secret
from edgemm.errors import InputError
from edgemm.outlet import say
from edgemm.transport.address import check_url
from edgemm_fleet.api.messages import CreatedPerson, PersonRequest, TokenRequest
from edgemm_fleet.api.person_tokens import issue
from edgemm_fleet.client import FleetClient, Profile
from edgemm_fleet.client.profile import write_profile
from edgemm_fleet.commands.on_server import FOLDER, open_folder, user
from edgemm_fleet.commands.output import age, as_json_option, due, moment, pairs, print_json, print_table, report
from edgemm_fleet.commands.parameters import DURATION, MOST_LISTED, connect, labels
from edgemm_fleet.records.records import EnrolmentTokenRecord, PersonToken, Role
from edgemm_fleet.secrets.person_tokens import parse_access_token
from edgemm_fleet.store import Store
from edgemm_fleet.store import audit as store_audit
from edgemm_fleet.trust.certificate import fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder


@click.command()
@click.argument("url")
@click.option(
    "--token",
    envvar="EDGEMM_FLEET_TOKEN",
    show_envvar=True,
    help="Your token, as `init` or `people add` printed it; `ps` shows it to all users of this machine. Asked for on a "
    "terminal.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="A file with your token; -: stdin.",
)
@click.option("--fingerprint", help="SHA-256 of the server's certificate, if it is not the one in the token.")
@as_json_option
def login(url: str, *, token: str | None, token_file: Path | None, fingerprint: str | None, as_json: bool) -> None:
    """Work with the fleet at URL from this machine, as the person of a token."""
    url = check_url(url)
    if token_file is not None:
        token = read_secret(token_file, option="--token-file")
    if token is None:
        if not sys.stdin.isatty():
            raise InputError("expected --token emp1_…, or --token-file: `edgemm fleet init` or `people add` printed it")
        token = str(click.prompt("Token", hide_input=True))
    pin = _fingerprint(fingerprint) if fingerprint else parse_access_token(token).tls_fingerprint
    profile = Profile(url=url, token=token.strip(), tls_fingerprint=pin, root="")
    with FleetClient(profile) as client:
        me = client.me()
        # First trust, over the connection that the token pins; whatever is signed later follows from this root.
        root = b"".join(client.connection.stream(f"/tuf/metadata/{me.root_version}.root.json")).decode()
    path = write_profile(Profile(url=profile.url, token=profile.token, tls_fingerprint=pin, root=root))
    if as_json:
        print_json(me)
    else:
        say(f"logged in to fleet {me.fleet} as {me.person} ({me.role}) until {moment(me.expires_at)}; {path}")


@click.group()
def token() -> None:
    """Tokens by which devices join."""


@token.command("create")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="How many devices it lets in.")
@click.option("--ttl", type=DURATION, default="1d", show_default=True, help="How long it holds: 15min, 12h, 7d.")
@click.option(
    "--label", "given", multiple=True, callback=labels, metavar="K=V", help="Label of the devices it lets in."
)
@as_json_option
def create_token(*, uses: int, ttl: float, given: dict[str, str], as_json: bool) -> None:
    """Print the line to run on a device that is to join."""
    with connect() as client:
        created = client.create_token(TokenRequest(uses=uses, ttl_s=ttl, labels=given))
        url = client.profile.url
    if as_json:
        print_json(created)
        return
    record = created.record
    say(f"edgemm run --fleet {created.url or url} --token {created.token}")
    devices = "1 device" if record.uses_allowed == 1 else f"{record.uses_allowed} devices"
    say(f"good for {devices} until {moment(record.expires_at)}; id {record.id}", err=True)
    say("where others use that machine, who see command lines: --token-file FILE there, or EDGEMM_TOKEN", err=True)


@token.command("list")
@as_json_option
def list_tokens(*, as_json: bool) -> None:
    """List all tokens, also those that ended."""
    with connect() as client:
        found = list(client.tokens())
        now = client.now()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.id,
            f"{one.uses} of {one.uses_allowed or 'any'}",
            _validity(one, now=now),
            pairs(one.labels),
            one.created_by,
        )
        for one in found
    ]
    headings = ("token", "used", "holds", "labels", "made by")
    print_table(headings, rows, empty="no token yet: edgemm fleet token create")


@token.command("revoke")
@click.argument("token_id")
@as_json_option
def revoke_token(token_id: str, *, as_json: bool) -> None:
    """Let no further device in by a token; those that are in stay."""
    with connect() as client:
        client.revoke_token(token_id)
    report(f"token {token_id} lets nobody in any more", as_json=as_json, revoked=token_id)


@click.group()
def people() -> None:
    """Tokens of people."""


@people.command("add")
@click.argument("person")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What they may do.")
@click.option("--ttl", type=DURATION, default="365d", show_default=True, help="How long it holds: 12h, 90d.")
@click.option("--folder", type=FOLDER, help="The fleet folder: on the server, this needs no token of an administrator.")
@as_json_option
def add_person(person: str, *, role: str, ttl: float, folder: Path | None, as_json: bool) -> None:
    """Make a token for a person and print it: `edgemm fleet login` asks for it."""
    request = _person_request(person, role, ttl)
    if folder is not None:
        created = _add_on_server(open_folder(folder), request)
    else:
        with connect() as client:
            created = client.add_person(request)
    if as_json:
        print_json(created)
        return
    say(created.token)
    say(f"they log in with it: edgemm fleet login {created.url}   asks for it, or reads it by --token-file", err=True)
    say(f"the page, logged in: {created.url}/#token={created.token}", err=True)


@people.command("list")
@as_json_option
def list_people(*, as_json: bool) -> None:
    """List all tokens of people, also those that ended."""
    with connect() as client:
        found = list(client.people())
        now = client.now()
    if as_json:
        print_json(found)
        return
    rows = [(one.id, one.person, one.role.value, _validity(one, now=now)) for one in found]
    print_table(("token", "person", "role", "holds"), rows, empty="nobody")


@people.command("revoke")
@click.argument("token_id")
@as_json_option
def revoke_person(token_id: str, *, as_json: bool) -> None:
    """End a person's token at once."""
    with connect() as client:
        client.revoke_person(token_id)
    report(f"token {token_id} has ended", as_json=as_json, revoked=token_id)


@click.command()
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="How many.")
@as_json_option
def audit(*, limit: int, as_json: bool) -> None:
    """Show who did what, newest first."""
    with connect() as client:
        found = list(islice(client.audit(), limit))
    if as_json:
        print_json(found)
        return
    rows = [(moment(one.at), one.actor, one.action, one.subject, one.detail) for one in found]
    print_table(("when", "who", "did", "to", "detail"), rows, empty="nothing yet")


def _person_request(person: str, role: str, ttl: float) -> PersonRequest:
    try:
        return msgspec.convert({"person": person, "role": role, "ttl_s": ttl}, PersonRequest)
    except msgspec.ValidationError as err:
        raise InputError(f"person {person[:80]!r}: {err}") from err


def _add_on_server(folder: FleetFolder, request: PersonRequest) -> CreatedPerson:
    config, now = folder.read_config(), time.time()
    pin = fingerprint(folder.certificate) if config.public_url.startswith("https:") else None
    store = Store.join(folder.database_address())
    try:
        with store.write() as tx:
            record, text = issue(tx, request, tls_fingerprint=pin, now=now)
            detail = f"role {record.role}, token {record.id}"
            store_audit.add(
                tx, at=now, actor=f"server:{user()}", action="people.add", subject=record.person, detail=detail
            )
    finally:
        store.close()
    return CreatedPerson(token=text, url=config.public_url, record=record)


def _validity(one: EnrolmentTokenRecord | PersonToken, *, now: float) -> str:
    if one.revoked_at is not None:
        return f"revoked {age(one.revoked_at, now=now)}"
    ends = due(one.expires_at, now=now)
    return f"ends {ends}" if ends.startswith("in ") else f"ended {ends}"


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise InputError(f"--fingerprint {text!r}: expected the SHA-256 of a certificate, 64 hex digits")
    return digits
