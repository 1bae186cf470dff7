"""The command `edgemm run`: serves bundles on this machine, or runs it as a device of a fleet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgemm.configuration.options import FileArgument, configured, rest
from edgemm.durations import Duration
from edgemm.finite_range import FiniteRange
from edgemm.outlet import say_document
from edgemm.outlet.log_rate import set_up_logging
from edgemm_runtime.commands.access_options import access_options, read_access
from edgemm_runtime.commands.being_device import be_a_device, state_dir_of_service
from edgemm_runtime.commands.configuration import RULES, read_limits
from edgemm_runtime.commands.cors_option import cors_option, read_origins
from edgemm_runtime.commands.listen_option import listen_option, read_addresses
from edgemm_runtime.commands.managing import read_address
from edgemm_runtime.commands.mqtt_options import NAMES as MQTT_NAMES
from edgemm_runtime.commands.mqtt_options import mqtt_options, read_mqtt
from edgemm_runtime.commands.renewing import renewed_by_sighup
from edgemm_runtime.commands.serving_bundles import serve_bundles
from edgemm_runtime.commands.shadowing import Shadows
from edgemm_runtime.commands.shown_configuration import shown_configuration
from edgemm_runtime.engines.choice import AUTO
from edgemm_runtime.memory import request_memory
from edgemm_runtime.shadow.shadow_limits import DEFAULT_SHARE


@click.command()
@click.argument("bundles", cls=FileArgument, nargs=-1, type=click.Path(path_type=Path), metavar="[BUNDLE]...")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@listen_option
@click.option("--variant", default=AUTO, show_default=True, help="A variant, or several in order: tflite:int8,onnx:…")
@access_options
@cors_option
@mqtt_options
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
@configured(RULES)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged, and what is more important.",
)
@click.option("--quiet", is_flag=True, help="Print and log nothing but errors.")
@click.option("--fleet", metavar="URL", help="Be a device of this fleet, which says what to serve.")
@click.option(
    "--token",
    help="The enrolment token, at the first start; `ps` shows it to all users of this machine, unlike --token-file.",
    envvar="EDGEMM_TOKEN",
    show_envvar=True,
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="A file with the enrolment token; -: stdin.",
)
@click.option("--name", help="What people call this device; the host's name by default.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label of this device; repeatable.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where a fleet's device keeps its state, and any server the predictions that late labels may come for.",
)
@click.option(
    "--telemetry-interval",
    type=Duration(min_s=1, max_s=3600),
    help="How often a fleet's device tells its counters, from 1s to 1h; 60s by default.",
)
@click.option(
    "--monitor-rate",
    type=click.IntRange(0, 100_000),
    metavar="N",
    help="Requests of each model a minute of which the accuracy is estimated; 0 for every one, 20 by default.",
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
    listen: tuple[str, ...],
    variant: str,
    shadows: tuple[Path, ...],
    shadow_share: float | None,
    shadow_variant: str | None,
    manage: str | None,
    config: Path | None,
    print_config: bool,
    log_level: str,
    quiet: bool,
    fleet: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    api_key_file: Path | None,
    unix_socket: Path | None,
    cors: tuple[str, ...],
    **device: Any,
) -> None:
    """Serve bundles on this machine, or be a device of a fleet (--fleet).

    Open Inference Protocol v2 under /v2, POST /predict and a page at / for people, /metrics for Prometheus. Ctrl-C or
    SIGTERM end it, after the requests in flight; SIGHUP reads certificate and API key again. How a shadow agrees is at
    /shadow and /metrics.
    """
    context = click.get_current_context()
    limits = read_limits(rest(context), name=str(config)).with_monitor_rate(device.pop("monitor_rate"))
    request_memory.allow(limits.serving.memory_bytes)
    if print_config:
        say_document(shown_configuration(context, limits))
        return
    set_up_logging(level="error" if quiet else log_level)
    read = partial(read_access, tls_cert=tls_cert, tls_key=tls_key, api_key_file=api_key_file, unix_socket=unix_socket)
    access = read()
    access.origins = read_origins(cors)
    context.with_resource(renewed_by_sighup(access, read))
    hosts = read_addresses(listen)
    owners = read_mqtt(**{name: device.pop(name) for name in MQTT_NAMES})
    wanted = Shadows(shadows, shadow_share, shadow_variant)
    if fleet is not None:
        if bundles or variant != AUTO or wanted != Shadows():
            raise click.UsageError("with --fleet, the fleet says which bundles and variants to serve: leave them out")
        if manage is not None:
            raise click.UsageError("with --fleet, the fleet says what is loaded: leave --manage out")
        be_a_device(fleet, port=port, hosts=hosts, access=access, limits=limits, mqtt=owners, **device)
        return
    state_dir = device.pop("state_dir") or state_dir_of_service()
    # A token in the environment is there for other commands too; one that was typed is meant.
    typed = context.get_parameter_source("token") is ParameterSource.COMMANDLINE
    if alone := [name for name, value in device.items() if value and (typed or name != "token")]:
        raise click.UsageError(f"--{alone[0].removesuffix('s').replace('_', '-')} needs --fleet")
    if not bundles:
        raise click.UsageError("expected a BUNDLE to serve, or --fleet URL")
    at = None if manage is None else read_address(manage)
    serve_bundles(
        bundles,
        hosts=hosts,
        port=port,
        variant=variant,
        shadows=wanted,
        quiet=quiet,
        access=access,
        manage=at,
        limits=limits,
        state_dir=state_dir,
        mqtt=owners,
    )
