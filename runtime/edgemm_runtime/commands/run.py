"""The command `edgemm run`: serves bundles on this machine, or runs it as a device of a fleet."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from click.core import ParameterSource

from edgemm.bundle import Bundle, open_bundle
from edgemm.durations import Duration
from edgemm.errors import InputError
from edgemm.finite_range import FiniteRange
from edgemm.sigterm import ended_by_sigterm
from edgemm_runtime.commands.access_options import access_options, read_access
from edgemm_runtime.commands.configuration import DeviceConfiguration, read_configuration
from edgemm_runtime.commands.managing import read_address
from edgemm_runtime.commands.shadowing import Shadows, candidates, end
from edgemm_runtime.engines import available, golden
from edgemm_runtime.engines.choice import AUTO, choose, parse_policy
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.service.keeper import keeping
from edgemm_runtime.service.notify import Notifier
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.management import ManagementAddress, ManagementServer
from edgemm_runtime.serving.server import LOOPBACK, ModelServer
from edgemm_runtime.shadow.running import RunningShadows
from edgemm_runtime.shadow.shadow_limits import DEFAULT_SHARE
from edgemm_runtime.tensors.named_arrays import Array

_MAX_CURL_VALUES = 128
_BEGIN_A_SEQUENCE = "-H 'X-Sequence-Id: me' -H 'X-Sequence-Start: true'"


@click.command()
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path), metavar="[BUNDLE]...")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--listen", default=LOOPBACK, show_default=True, metavar="ADDRESS", help="0.0.0.0: the whole network.")
@click.option("--variant", default=AUTO, show_default=True, help="A variant, or several in order: tflite:int8,onnx:…")
@access_options
@click.option(
    "--shadow",
    "shadows",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Run this beside the model of its name, on a share of the requests, and compare; it answers none. Repeatable.",
)
@click.option(
    "--shadow-share",
    type=FiniteRange(0, 1, min_open=True),
    help=f"Share of the requests that a shadow sees; {DEFAULT_SHARE:g} by default.",
)
@click.option("--shadow-variant", help="The shadow's variant, or several in order; auto by default.")
@click.option(
    "--manage",
    metavar="ADDRESS",
    help="Let programs of this machine load and unload models here: a path for a Unix socket, or 127.0.0.1:PORT.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file with limits and intervals; see docs/configuration.md.",
)
@click.option("--quiet", is_flag=True, help="Print and log nothing but errors.")
@click.option("--fleet", metavar="URL", help="Be a device of this fleet, which says what to serve.")
@click.option("--token", help="The enrolment token, at the first start.", envvar="EDGEMM_TOKEN", show_envvar=True)
@click.option("--name", help="What people call this device; the host's name by default.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label of this device; repeatable.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where a fleet's device keeps its state.")
@click.option(
    "--telemetry-interval",
    type=Duration(min_s=1, max_s=3600),
    help="How often a fleet's device tells its counters, from 1s to 1h; 60s by default.",
)
@click.option(
    "--sd-write-mib",
    type=click.IntRange(2, 1024 * 1024),
    help="What a fleet's device may write of events and telemetry to its card in 24 hours, in MiB; 32 by default.",
)
def run(
    bundles: tuple[Path, ...],
    *,
    port: int,
    listen: str,
    variant: str,
    shadows: tuple[Path, ...],
    shadow_share: float | None,
    shadow_variant: str | None,
    manage: str | None,
    config: Path | None,
    quiet: bool,
    fleet: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    api_key_file: Path | None,
    unix_socket: Path | None,
    **device: Any,
) -> None:
    """Serve bundles on this machine, or be a device of a fleet (--fleet).

    Open Inference Protocol v2 under /v2, POST /predict for people, /metrics for Prometheus. Ctrl-C or SIGTERM end it,
    after the requests in flight. How a shadow agrees is at /shadow and /metrics.
    """
    _set_up_logging(quiet=quiet)
    limits = DeviceConfiguration() if config is None else read_configuration(config)
    access = read_access(tls_cert=tls_cert, tls_key=tls_key, api_key_file=api_key_file, unix_socket=unix_socket)
    wanted = Shadows(shadows, shadow_share, shadow_variant)
    if fleet is not None:
        if bundles or variant != AUTO or wanted != Shadows():
            raise click.UsageError("with --fleet, the fleet says which bundles and variants to serve: leave them out")
        if manage is not None:
            raise click.UsageError("with --fleet, the fleet says what is loaded: leave --manage out")
        _be_a_device(fleet, port=port, listen=listen, access=access, limits=limits, **device)
        return
    # A token in the environment is there for other commands too; one that was typed is meant.
    typed = click.get_current_context().get_parameter_source("token") is ParameterSource.COMMANDLINE
    if alone := [name for name, value in device.items() if value and (typed or name != "token")]:
        raise click.UsageError(f"--{alone[0].removesuffix('s').replace('_', '-')} needs --fleet")
    if not bundles:
        raise click.UsageError("expected a BUNDLE to serve, or --fleet URL")
    at = None if manage is None else read_address(manage)
    _serve(
        bundles,
        host=listen,
        port=port,
        variant=variant,
        shadows=wanted,
        quiet=quiet,
        access=access,
        manage=at,
        limits=limits,
    )


def _serve(
    paths: tuple[Path, ...],
    *,
    host: str,
    port: int,
    variant: str,
    shadows: Shadows,
    quiet: bool,
    access: Access,
    manage: ManagementAddress | None,
    limits: DeviceConfiguration,
) -> None:
    registry = ModelRegistry(RunningShadows(limits.shadow), sequences=limits.sequences)
    policy = parse_policy(variant)
    with ExitStack() as stack:
        wait_for_end = stack.enter_context(ended_by_sigterm())
        opened = _open_all(paths, stack)
        lie = {bundle.manifest.name: path for bundle, path in zip(opened, paths, strict=True)}
        chosen = [choose(b.manifest, policy=policy, engines=available()).require() for b in opened]
        beside = candidates(shadows, opened)
        for bundle in opened:
            registry.expect(bundle.manifest.name)
        server = stack.enter_context(ModelServer(registry, host=host, port=port, limits=limits.serving, access=access))
        for bundle, wanted in zip(opened, chosen, strict=True):
            registry.activate(bundle.manifest.name, bundle, wanted)
            if not quiet:
                _announce(server, bundle, variant_id=wanted.id)
        if manage is not None:
            loader = Loader(registry, lie, policy=policy)
            managed = stack.enter_context(ManagementServer(registry, loader, manage, access=access))
            if not quiet:
                click.echo(f"models are loaded and unloaded at {managed.address}")
        stack.callback(end, registry)
        for candidate in beside:
            registry.add_shadow(candidate)
            if not quiet:
                click.echo(f"{candidate} is loaded as a shadow beside it: curl -s {server.address}/shadow")
        with keeping(
            Notifier.from_environment(os.environ),
            registry,
            _Files(opened, lie, stack).bundle_of,
            server_turns=lambda: server.healthy,
        ):
            wait_for_end()


class _Files:
    """The open bundles of what is served; one that was loaded later is opened when it is first asked for."""

    def __init__(self, opened: Sequence[Bundle], paths: Mapping[str, Path], stack: ExitStack) -> None:
        self._by_digest, self._paths, self._stack = {b.digest: b for b in opened}, paths, stack

    def bundle_of(self, key: ServedKey) -> Bundle:
        """Return the bundle that a model was loaded from.

        Raises:
            InputError: there is another one in its place by now.
        """
        found = self._by_digest.get(key.digest)
        if found is None:
            path = self._paths[key.name]
            with ExitStack() as attempt:
                found = attempt.enter_context(open_bundle(path))
                if found.digest != key.digest:
                    raise InputError(
                        f"{path} is not what {key.name} {key.version} was loaded from any more: load it again"
                    )
                self._by_digest[key.digest] = found
                self._stack.push(attempt.pop_all())
        return found


def _open_all(paths: tuple[Path, ...], stack: ExitStack) -> list[Bundle]:
    opened: dict[str, Bundle] = {}
    for path in paths:
        bundle = stack.enter_context(open_bundle(path))
        if bundle.manifest.name in opened:
            raise InputError(f"{path}: a model called {bundle.manifest.name} is given twice: serve one version of it")
        opened[bundle.manifest.name] = bundle
    return list(opened.values())


def _announce(server: ModelServer, bundle: Bundle, *, variant_id: str) -> None:
    manifest = bundle.manifest
    click.echo(f"{manifest.name} {manifest.version} ({variant_id}) is served at {server.address}")
    click.echo(f"  try: {_curl(server, bundle)}")


def _curl(server: ModelServer, bundle: Bundle) -> str:
    """Return a command that works: a golden sample where that is short, otherwise the model's metadata."""
    name, sample = bundle.manifest.name, golden.read_samples(bundle).input(0)
    if sum(array.size for array in sample.values()) > _MAX_CURL_VALUES:
        return f"{_how(server)}/v2/models/{name}"
    inputs = {name: _short(array).tolist() for name, array in sample.items()}
    body = msgspec.json.encode({"inputs": inputs}).decode()
    begun = f" {_BEGIN_A_SEQUENCE}" if bundle.manifest.stateful else ""
    return f"{_how(server)}/predict/{name}{begun} -d '{body}'"


def _how(server: ModelServer) -> str:
    """Return curl with what this server asks of its clients; a key is named and not shown."""
    key = '-H "X-API-Key: $EDGEMM_API_KEY" ' if server.access.api_key else ""
    return f"curl -s {'-k ' if server.access.tls else ''}{key}{server.address}"


def _short(array: Array) -> Array:
    """Return float64 values that are spelled shortest and are the very same numbers in the array's own dtype."""
    if array.dtype.kind != "f":
        return array
    # NumPy spells a number with as many digits as its dtype needs: 0.1 for what is 0.10000000149 as a float64.
    return np.array([float(str(value)) for value in array.ravel()], np.float64).reshape(array.shape)


def _be_a_device(
    fleet: str,
    *,
    port: int,
    listen: str,
    access: Access,
    limits: DeviceConfiguration,
    token: str | None,
    name: str | None,
    labels: tuple[str, ...],
    state_dir: Path | None,
    telemetry_interval: float | None,
    sd_write_mib: int | None,
) -> None:
    from edgemm_runtime.agent.main import run_agent
    from edgemm_runtime.agent.state.agent_options import MIB, AgentOptions

    chosen: dict[str, Any] = {
        "telemetry_interval_s": telemetry_interval,
        "sd_write_bytes_per_day": None if sd_write_mib is None else sd_write_mib * MIB,
    }
    run_agent(
        AgentOptions(
            fleet_url=fleet,
            state_dir=state_dir or _default_state_dir(),
            token=token,
            name=name,
            labels=dict(_label(text) for text in labels),
            listen=listen,
            port=port,
            access=access,
            limits=replace(limits.agent, **{name: value for name, value in chosen.items() if value is not None}),
            serving=limits.serving,
            shadow=limits.shadow,
            sequences=limits.sequences,
        )
    )


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "edgemm"


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"expected KEY=VALUE, found {text!r}", param_hint="--label")
    return key, value


def _set_up_logging(*, quiet: bool) -> None:
    level = logging.ERROR if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
