"""The shadows of `edgemm run --shadow`: checked before anything serves, with results logged at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from edgemm.bundle import Bundle, open_bundle
from edgemm.errors import InputError
from edgemm_runtime.engines import available
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.engines.choice import AUTO, choose, parse_policy
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.shadow.counting import incompatibility
from edgemm_runtime.shadow.report import one_line, report
from edgemm_runtime.shadow.shadow import ShadowCandidate
from edgemm_runtime.shadow.shadow_limits import DEFAULT_SHARE

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shadows:
    """What the command line says of shadows."""

    paths: tuple[Path, ...] = ()
    share: float | None = None
    variant: str | None = None


def candidates(wanted: Shadows, served: Sequence[Bundle]) -> list[ShadowCandidate]:
    """Return what is to run beside the bundles that are served.

    Raises:
        InputError: no such file or variant, no model of its name is served, or it is no match for that.
        BundleError: it is damaged.
        EngineUnavailableError: no variant can run here.
    """
    if not wanted.paths and wanted != Shadows():
        raise click.UsageError("--shadow-share and --shadow-variant need --shadow")
    found: dict[str, ShadowCandidate] = {}
    for path in wanted.paths:
        candidate = _candidate(path, wanted)
        name = candidate.key.name
        active = next((bundle.manifest for bundle in served if bundle.manifest.name == name), None)
        if active is None:
            names = ", ".join(bundle.manifest.name for bundle in served)
            raise InputError(f"{path}: expected a shadow of {names}, found a model called {name}: convert it by --name")
        if name in found:
            raise InputError(f"{path}: a second shadow of {name}: run one at a time")
        if reason := incompatibility(active, candidate.manifest):
            raise InputError(f"{path} cannot run as a shadow: {reason}")
        found[name] = candidate
    return list(found.values())


def end(registry: ModelRegistry) -> None:
    """Log what the shadows found, and stop them."""
    for one in report(registry.shadows.statuses(), registry.shadows.counts()).shadows:
        _log.info("%s", one_line(one))
    registry.shadows.close()


def _candidate(path: Path, wanted: Shadows) -> ShadowCandidate:
    with open_bundle(path) as bundle:
        policy = parse_policy(wanted.variant or AUTO)
        variant = choose(bundle.manifest, policy=policy, engines=available()).require()
        return ShadowCandidate(
            manifest=bundle.manifest,
            digest=bundle.digest,
            location=BundleFile(path),
            variant_id=variant.id,
            share=wanted.share or DEFAULT_SHARE,
        )
