"""The commands `edgemm fleet models`: list published versions, and let keys publish."""

from __future__ import annotations

from pathlib import Path

import click

from edgemm.errors import InputError
from edgemm.outlet import say
from edgemm.trust.signing import key_document
from edgemm_fleet.api.messages import AuthorisationRequest
from edgemm_fleet.client import FleetClient, publishing
from edgemm_fleet.client.publishing import authorise_offline, read_public_key, tidy_offline
from edgemm_fleet.commands.output import age, as_json_option, listed, print_json, print_table, report, size
from edgemm_fleet.commands.parameters import connect

_FILE = click.Path(path_type=Path, dir_okay=False)


_targets_key_option = click.option(
    "--targets-key",
    "targets_keys",
    type=_FILE,
    multiple=True,
    help="The offline targets key, where it is not on the server any more.",
)


@click.group(invoke_without_command=True)
@as_json_option
@click.pass_context
def models(ctx: click.Context, *, as_json: bool) -> None:
    """Models and their versions; who may publish them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models, as_json=as_json)


@models.command("list")
@as_json_option
def list_models(*, as_json: bool) -> None:
    """List every version of every model, the highest version first."""
    with connect() as client:
        details = [client.model(model.name) for model in client.models()]
        versions = [version for detail in details for version in client.versions(detail.model.name)]
        now = client.now()
    if as_json:
        print_json(details)
        return
    minimum = {detail.model.name: detail.model.minimum_version or "–" for detail in details}
    rows = [
        (
            v.model,
            f"{v.version} (withdrawn)" if v.withdrawn_at is not None else v.version,
            size(v.size_bytes),
            v.digest[:12],
            v.published_by,
            age(v.published_at, now=now),
            minimum[v.model],
        )
        for v in versions
    ]
    headings = ("model", "version", "size", "sha256", "published by", "when", "minimum")
    print_table(headings, rows, empty="nothing is published yet: edgemm fleet publish BUNDLE")


@models.command("tidy")
@_targets_key_option
@as_json_option
def tidy(*, targets_keys: tuple[Path, ...], as_json: bool) -> None:
    """Withdraw the authorisations of models that were never published; publishing one authorises it again."""
    with connect() as client:
        found = tidy_offline(client, targets_keys) if targets_keys else list(client.tidy_models().models)
    if as_json:
        print_json({"models": found})
    else:
        say(f"{len(found):,} authorisations are withdrawn: {listed(found)}" if found else "every model has a version")


@models.command("authorize")
@click.argument("name")
@click.option("--publisher-key", type=_FILE, help="The publisher's publisher.pub.json; your own by default.")
@_targets_key_option
@as_json_option
def authorize(name: str, *, publisher_key: Path | None, targets_keys: tuple[Path, ...], as_json: bool) -> None:
    """Let a key publish versions of the model NAME."""
    key = read_public_key(publisher_key) if publisher_key else publishing.publisher_key().public_key
    with connect() as client:
        if targets_keys:
            authorise_offline(client, name, key, targets_keys)
        else:
            client.authorise(name, AuthorisationRequest(public_key=key_document(key)))
    report(f"key {key.keyid[:12]}… may publish {name}", as_json=as_json, model=name, key_id=key.keyid)


@models.command("renew")
@click.argument("name")
@as_json_option
def renew(name: str, *, as_json: bool) -> None:
    """Sign the published versions of the model NAME anew, by your key: another's is to go, or its signature ends."""
    with connect() as client:
        publishing.renew(client, name)
    report(f"{name} is signed by your key", as_json=as_json, model=name)


@models.command("withdraw")
@click.argument("name")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@click.option(
    "--minimum-version",
    "minimum",
    metavar="V",
    help="Devices install no version of this model below V from now on; it may be lower than before.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Also versions in use: rollouts halt, shadows end, and devices that run one go on running it.",
)
@as_json_option
def withdraw(name: str, *, versions: tuple[str, ...], minimum: str | None, force: bool, as_json: bool) -> None:
    """Offer versions of the model NAME to no device any more, for good; or give it another minimum version.

    For an administrator whose own key may publish NAME: edgemm fleet models authorize NAME. A device that runs such a
    version goes on; its number can never be published again.
    """
    if not versions and minimum is None:
        raise InputError(f"expected versions of {name} to withdraw, or --minimum-version V: nothing was changed")
    with connect() as client:
        done = publishing.withdraw(client, name, versions, minimum=minimum, force=force)
    if as_json:
        print_json(done)
        return
    what = f"{listed(versions)} withdrawn" if versions else "no version withdrawn"
    say(f"{name}: {what}; minimum version {done.minimum_version}")
    if done.halted:
        say(f"halted: {listed(done.halted)}")
    if done.shadows_ended:
        say(f"shadows ended: {done.shadows_ended:,}")
    if done.running_count:
        more = f" and {done.running_count - len(done.running):,} more" if done.running_count > len(done.running) else ""
        devices = "device" if done.running_count == 1 else "devices"
        say(f"still runs on {done.running_count:,} {devices}: {', '.join(done.running)}{more}")
        say(f"next: edgemm fleet rollout create {name} VERSION, with another version", err=True)


@models.command("revoke")
@click.argument("name")
@click.option("--publisher-key", type=_FILE, help="The publisher's publisher.pub.json.")
@click.option("--key-id", help="The id of the key, as `edgemm fleet keys show` tells it, or its beginning.")
@_targets_key_option
@as_json_option
def revoke(
    name: str, *, publisher_key: Path | None, key_id: str | None, targets_keys: tuple[Path, ...], as_json: bool
) -> None:
    """Let a key publish versions of the model NAME no more: it was lost or stolen.

    First another key is authorised, and its publisher signs what is published: edgemm fleet models renew NAME.
    """
    if (publisher_key is None) == (key_id is None):
        raise InputError("expected either --publisher-key PUB or --key-id ID")
    with connect() as client:
        found = read_public_key(publisher_key).keyid if publisher_key else _key_id(client, name, key_id or "")
        if targets_keys:
            publishing.deprive_offline(client, name, found, targets_keys)
        else:
            client.deprive(name, found)
    report(f"key {found[:12]}… may publish {name} no more", as_json=as_json, model=name, key_id=found)


def _key_id(client: FleetClient, model: str, text: str) -> str:
    found = [key_id for key_id in client.model(model).key_ids if text and key_id.startswith(text.rstrip("…"))]
    if len(found) != 1:
        raise InputError(f"--key-id {text!r}: expected the beginning of one key's id that may publish {model}")
    return found[0]
