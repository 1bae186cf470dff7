"""The commands `edgemm fleet keys`: what keys a fleet trusts, and how they are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from securesystemslib.signer import CryptoSigner, Key

from edgemm import durable
from edgemm.errors import InputError, PermissionDeniedError
from edgemm.outlet import say
from edgemm.trust import signing
from edgemm_fleet.client.publishing import read_public_key
from edgemm_fleet.commands.on_server import folder_option, load_keys, moment_now, note, open_folder
from edgemm_fleet.commands.output import as_json_option, print_json, print_table
from edgemm_fleet.server.leftover_keys import LeftoverKey, discard, leftovers
from edgemm_fleet.trust import proposal as proposals
from edgemm_fleet.trust.ceremony import OFFLINE_ROLES, Replacement, propose, propose_renewal, rehearse, sign_here
from edgemm_fleet.trust.fleet_folder import FleetFolder
from edgemm_fleet.trust.key_overview import HeldKey, RoleKeys, overview
from edgemm_fleet.trust.proposal import Proposal
from edgemm_fleet.trust.proposal_changes import changes, check_fits, unvouched
from edgemm_fleet.trust.rotation import ROLES
from edgemm_fleet.trust.version_repository import VersionRepository

_FILE = click.Path(path_type=Path, dir_okay=False)
key_option = click.option(
    "--key", "keys", type=_FILE, multiple=True, metavar="FILE", help="A root or targets key in PEM that signs."
)
propose_option = click.option(
    "--propose", type=_FILE, metavar="FILE", help="Write what is to be signed elsewhere, where the keys here do not do."
)


@click.group()
def keys() -> None:
    """Keys that devices trust: list, replace, sign elsewhere."""


@keys.command("list")
@folder_option
@as_json_option
def list_keys(folder: Path, *, as_json: bool) -> None:
    """List all roles: their keys, how many must sign, until when, and where the private halves are.

    Private keys that sign nothing follow: of a change that was not made, or is over.
    """
    repository = VersionRepository(open_folder(folder))
    found, left = overview(repository), leftovers(repository.folder, repository.root.signed)
    if as_json:
        print_json([*found, *(_as_role(one, repository.folder) for one in left)])
        return
    rows = [
        (one.role, f"{one.threshold} of {len(one.keys)}", " ".join(k.id[:12] for k in one.keys), one.until, one.where)
        for one in found
    ]
    print_table(("role", "signs", "keys", "signed until", "private keys"), rows, empty="nothing")
    if repository.folder.trust_change.exists():
        say("a change was cut short; whatever changes keys next, or the manager, ends it: edgemm fleet keys discard")
    if left:
        say("private keys that sign nothing here:")
    for one in left:
        say(f"  {one.place(repository.folder)}", f"    {one.what} ({one.key_id[:12] or 'no whole key'}): {one.advice}")


@keys.command("discard")
@click.argument("which", nargs=-1, metavar="[KEYID|PATH]...")
@click.option("--all", "everything", is_flag=True, help="All that `keys list` names.")
@folder_option
@as_json_option
def discard_keys(which: tuple[str, ...], folder: Path, *, everything: bool, as_json: bool) -> None:
    """Delete private keys that sign nothing, as `edgemm fleet keys list` names them below its table.

    A change that was cut short is ended first. One that was proposed, and needs such a key, cannot be applied any more.
    """
    if bool(which) == everything:
        raise InputError(
            "which keys? give the beginnings of their ids, or their paths, or --all: edgemm fleet keys list"
        )
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    gone = discard(repository.folder, repository.root.signed, which)
    places = [one.place(repository.folder) for one in gone]
    if gone:
        note(repository.folder, "keys.discard", "keys", "; ".join(places))
    if as_json:
        print_json({"discarded": places})
        return
    say(*(f"discarded {place}" for place in places), *([] if places else ["nothing is left over"]))


@keys.command("show")
@click.argument("role")
@folder_option
@as_json_option
def show_keys(role: str, folder: Path, *, as_json: bool) -> None:
    """Show the keys of a ROLE: director, snapshot, timestamp, targets, root, or model-NAME."""
    found = [one for one in overview(VersionRepository(open_folder(folder))) if one.role == role]
    if not found:
        raise InputError(f"role {role[:80]!r}: expected one that `edgemm fleet keys list` shows")
    if as_json:
        print_json(found[0])
        return
    say(*_described(found[0]))


@keys.command("create")
@click.argument("file", type=_FILE)
@as_json_option
def create_key(file: Path, *, as_json: bool) -> None:
    """Make a root or targets key where it is to be kept: FILE, and its public half beside it."""
    public = file.with_suffix(".pub.json")
    for path in (file, public):
        if path.exists():
            raise InputError(f"{path}: it exists; keys are not overwritten: choose another name")
    signer = signing.create_key(file)
    durable.write(public, msgspec.json.encode(signing.key_document(signer.public_key)) + b"\n")
    if as_json:
        print_json({"key_id": signer.public_key.keyid, "private": str(file), "public": str(public)})
        return
    say(f"key {signer.public_key.keyid[:12]}… in {file}, which stays here; bring {public} to the server")


@keys.command("rotate")
@click.argument("roles", nargs=-1, required=True, type=click.Choice(ROLES))
@folder_option
@key_option
@click.option(
    "--new-key", "new_keys", type=_FILE, multiple=True, metavar="PUB", help="Public half of a key for root or targets."
)
@click.option("--replace", "replaced", multiple=True, metavar="KEYID", help="Which key of root or targets goes.")
@click.option("--threshold", type=click.IntRange(1, 16), help="How many keys of root or targets must sign from now on.")
@propose_option
@as_json_option
def rotate(
    roles: tuple[str, ...],
    folder: Path,
    *,
    keys: tuple[Path, ...],
    new_keys: tuple[Path, ...],
    replaced: tuple[str, ...],
    threshold: int | None,
    propose: Path | None,
    as_json: bool,
) -> None:
    """Replace the keys of ROLES, stolen or lost; devices follow without a visit.

    The root key signs for snapshot, timestamp, targets and root, the targets key for the director. They are looked for
    in `offline-keys/` of the folder, and taken from --key.
    """
    wanted = _replacements(roles, [read_public_key(path) for path in new_keys], replaced, threshold)
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    signers = load_keys(keys)
    rehearsed = rehearse(repository, wanted, keys=signers, now=moment_now())  # before any key is made
    if propose is None and (lacking := proposals.missing(rehearsed)):
        raise _lacks(lacking)
    made = _propose(repository, wanted)
    settle(repository, made, signers, propose, as_json=as_json)


@keys.command("renew")
@click.argument("roles", nargs=-1, required=True, type=click.Choice(sorted(OFFLINE_ROLES)))
@folder_option
@key_option
@propose_option
@as_json_option
def renew(roles: tuple[str, ...], folder: Path, *, keys: tuple[Path, ...], propose: Path | None, as_json: bool) -> None:
    """Sign root or targets anew, with the same keys and a later expiry."""
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    made = propose_renewal(repository, roles, now=moment_now())
    settle(repository, made, load_keys(keys), propose, as_json=as_json)


@keys.command("sign")
@click.argument("file", type=_FILE)
@click.option("--key", "key", type=_FILE, required=True, metavar="FILE", help="A root or targets key in PEM.")
@as_json_option
def sign(file: Path, *, key: Path, as_json: bool) -> None:
    """Sign a proposal in FILE, on the machine where the key is; needs neither network nor fleet folder."""
    signer = signing.load_key(key)
    proposal = proposals.sign(_read(file), signer)
    if not as_json and (everything := unvouched(proposal, signer.public_key.keyid)):
        say("this key did not sign what was before; compare all that would hold with what you know:", err=True)
        say(*(f"  {line}" for line in everything), err=True)
    durable.write(file, proposals.encode(proposal))
    _tell(proposal, as_json=as_json, done=f"signed {file}")


@keys.command("inspect")
@click.argument("file", type=_FILE)
@as_json_option
def inspect(file: Path, *, as_json: bool) -> None:
    """Show what a proposal in FILE changes, and whose signatures it lacks."""
    _tell(_read(file), as_json=as_json, done=str(file))


@keys.command("apply")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@folder_option
@as_json_option
def apply(files: tuple[Path, ...], folder: Path, *, as_json: bool) -> None:
    """Make the change of a signed proposal; FILES may be copies, each signed elsewhere."""
    repository = VersionRepository(open_folder(folder))
    repository.catch_up(now=moment_now())
    _apply(repository, proposals.merge([_read(file) for file in files]), as_json=as_json)


def _replacements(
    roles: Sequence[str], new_keys: Sequence[Key], replaced: tuple[str, ...], threshold: int | None
) -> dict[str, Replacement]:
    offline = [role for role in dict.fromkeys(roles) if role in OFFLINE_ROLES]
    if (new_keys or replaced or threshold is not None) and len(offline) != 1:
        raise InputError("--new-key, --replace and --threshold are for one of root and targets: rotate that by itself")
    given = Replacement(replaced, tuple(new_keys), threshold)
    return {role: given if role in OFFLINE_ROLES else Replacement() for role in dict.fromkeys(roles)}


def _propose(repository: VersionRepository, wanted: dict[str, Replacement]) -> Proposal:
    return propose(repository, wanted, now=moment_now())


def settle(
    repository: VersionRepository,
    proposal: Proposal,
    signers: Sequence[CryptoSigner],
    target: Path | None,
    *,
    as_json: bool,
) -> None:
    """Apply a change where the keys at hand do, or write it to a file to be signed elsewhere."""
    proposal = sign_here(repository, proposal, keys=signers)
    lacking = proposals.missing(proposal)
    if target is not None:
        durable.write(target, proposals.encode(proposal))
        _tell(proposal, as_json=as_json, done=f"proposed in {target}")
    elif lacking:
        raise _lacks(lacking)
    else:
        _apply(repository, proposal, as_json=as_json)


def _lacks(lacking: Sequence[str]) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"it lacks signatures: {'; '.join(lacking)}; give the keys by --key, or write a proposal by "
        "--propose FILE, and sign that where they are: edgemm fleet keys sign FILE --key KEY"
    )


def _apply(repository: VersionRepository, proposal: Proposal, *, as_json: bool) -> None:
    repository.apply(proposal, now=moment_now())
    note(repository.folder, "trust.change", "keys", "; ".join(changes(proposal)))
    _tell(proposal, as_json=as_json, done="changed; back the fleet folder up now, and keep no copy of keys that went")


def _tell(proposal: Proposal, *, as_json: bool, done: str) -> None:
    changed, lacking = changes(proposal), proposals.missing(proposal)
    if as_json:
        print_json({"changes": changed, "lacks": lacking})
        return
    say(*changed, *(f"lacks {line}" for line in lacking), done)


def _read(file: Path) -> Proposal:
    try:
        with file.open("rb") as opened:
            data = opened.read(proposals.MAX_PROPOSAL_BYTES + 1)
    except OSError as err:
        raise InputError(f"{file}: cannot be read: {err.strerror or err}") from err
    proposal = proposals.decode(data, name=str(file))
    try:
        check_fits(proposal)
    except InputError as err:
        raise InputError(f"{file}: {err}") from err
    return proposal


def _as_role(one: LeftoverKey, folder: FleetFolder) -> RoleKeys:
    """Return a key that signs nothing in the form of the others."""
    keys = (HeldKey(id=one.key_id, where=one.place(folder)),)
    return RoleKeys(role="left over", what=f"{one.what}: {one.advice}", keys=keys, threshold=0, until="")


def _described(one: RoleKeys) -> list[str]:
    return [
        f"role          {one.role}",
        f"signs         {one.what}",
        f"signatures    {one.threshold} of {len(one.keys)} keys",
        f"signed until  {one.until}",
        *(f"key           {key.id}  {key.where}" for key in one.keys),
    ]
