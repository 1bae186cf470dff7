"""The command `edgemm verify`: checks a bundle's bytes, and its variants' answers against the source model's."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from msgspec import Struct

from edgemm import library_errors
from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import Manifest, Variant
from edgemm.errors import EngineError, EngineUnavailableError, SelfTestError
from edgemm.finite_range import seconds
from edgemm.outlet import say, say_json
from edgemm_runtime.engines import available, selftest
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.installed import unavailable_reason


class VariantCheck(Struct, frozen=True):
    """How one variant's golden samples came out: `passed`, `failed` or `not run`, and why."""

    variant: str
    result: str
    detail: str = ""


class Verification(Struct, frozen=True):
    """What `edgemm verify --json` prints; a bundle that was opened holds byte for byte."""

    model: str
    version: str
    digest: str
    samples: int
    variants: tuple[VariantCheck, ...]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--timeout",
    "timeout_s",
    type=seconds(),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="For each variant.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@library_errors.verbose_option
def verify(bundle: Path, *, timeout_s: float, as_json: bool) -> None:
    """Check a bundle: its bytes and digests, and each variant's golden samples in the engines that are here."""
    with open_bundle(bundle) as opened:
        manifest, digest = opened.manifest, opened.digest
    checks = tuple(_check(bundle, variant, timeout_s=timeout_s) for variant in manifest.variants)
    done = Verification(manifest.name, manifest.version, digest, manifest.golden.samples, checks)
    if as_json:
        say_json(msgspec.json.encode(done))
    else:
        say(*_describe(done, manifest))
    if failed := [check for check in checks if check.result == "failed"]:
        names = ", ".join(check.variant for check in failed)
        raise SelfTestError(f"{bundle}: {names} failed: do not use this bundle; convert the model again")
    if all(check.result == "not run" for check in checks):
        reasons = "; ".join(f"{check.variant} {check.detail}" for check in checks)
        raise EngineUnavailableError(f"{bundle}: the bytes hold, but no engine is here to run any variant: {reasons}")


def _check(path: Path, variant: Variant, *, timeout_s: float) -> VariantCheck:
    if reason := unavailable_reason(variant, available()):
        return VariantCheck(variant.id, "not run", reason)
    try:
        selftest.run_in_child(BundleFile(path), variant.id, timeout_s=timeout_s)
    except EngineUnavailableError as err:
        return VariantCheck(variant.id, "not run", str(err))
    except EngineError as err:
        return VariantCheck(variant.id, "failed", str(err))
    return VariantCheck(variant.id, "passed")


def _describe(done: Verification, manifest: Manifest) -> list[str]:
    lines = [
        f"{done.model} {done.version}: {len(manifest.blobs)} blobs and the container hold, sha256 {done.digest}",
        f"{done.samples} golden samples:",
    ]
    width = max(len(check.variant) for check in done.variants)
    return [*lines, *(f"  {c.variant:<{width}}  {c.result}  {c.detail}".rstrip() for c in done.variants)]
