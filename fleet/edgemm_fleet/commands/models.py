"""The commands `edgemm fleet models`: list published versions, and let keys publish."""

from __future__ import annotations

from pathlib import Path

import click

from edgemm.trust.signing import key_document
from edgemm_fleet.api.messages import AuthorisationRequest
from edgemm_fleet.client import publishing
from edgemm_fleet.client.publishing import authorise_offline, read_public_key
from edgemm_fleet.commands.output import age, as_json_option, print_json, print_table, report, size
from edgemm_fleet.commands.parameters import connect

_FILE = click.Path(path_type=Path, dir_okay=False)


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
    """List every version of every model, newest first."""
    with connect() as client:
        details = [client.model(model.name) for model in client.models()]
        versions = [version for detail in details for version in client.versions(detail.model.name)]
    if as_json:
        print_json(details)
        return
    minimum = {detail.model.name: detail.model.minimum_version or "–" for detail in details}
    rows = [
        (v.model, v.version, size(v.size_bytes), v.digest[:12], v.published_by, age(v.published_at), minimum[v.model])
        for v in sorted(versions, key=lambda v: (v.model, -v.published_at))
    ]
    headings = ("model", "version", "size", "sha256", "published by", "when", "minimum")
    print_table(headings, rows, empty="nothing is published yet: edgemm fleet publish BUNDLE")


@models.command("authorize")
@click.argument("name")
@click.option("--publisher-key", type=_FILE, help="The publisher's publisher.pub.json; your own by default.")
@click.option("--targets-key", type=_FILE, help="The offline targets key, where it is not on the server any more.")
@as_json_option
def authorize(name: str, *, publisher_key: Path | None, targets_key: Path | None, as_json: bool) -> None:
    """Let a key publish versions of the model NAME."""
    key = read_public_key(publisher_key) if publisher_key else publishing.publisher_key().public_key
    with connect() as client:
        if targets_key is None:
            client.authorise(name, AuthorisationRequest(public_key=key_document(key)))
        else:
            authorise_offline(client, name, key, targets_key)
    report(f"key {key.keyid[:12]}… may publish {name}", as_json=as_json, model=name, key_id=key.keyid)
