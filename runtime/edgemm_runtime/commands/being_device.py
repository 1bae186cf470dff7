"""The device of a fleet that `edgemm run --fleet` is: the options of its agent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgemm.configuration.secret_file import STDIN, read_secret
from edgemm.errors import InputError
from edgemm_runtime.commands.configuration import DeviceConfiguration
from edgemm_runtime.mqtt.owner_broker import OwnerBroker
from edgemm_runtime.serving.access import Access


def be_a_device(
    fleet: str,
    *,
    port: int,
    hosts: Sequence[str],
    access: Access,
    limits: DeviceConfiguration,
    mqtt: OwnerBroker | None,
    token: str | None,
    token_file: Path | None,
    name: str | None,
    labels: tuple[str, ...],
    state_dir: Path | None,
    telemetry_interval: float | None,
    sd_write_mib: int | None,
) -> None:
    """Be a device until it is told to stop; raises as `run_agent`."""
    from edgemm_runtime.agent.main import run_agent
    from edgemm_runtime.agent.state.agent_options import MIB, AgentOptions

    chosen: dict[str, Any] = {
        "telemetry_interval_s": telemetry_interval,
        "sd_write_bytes_per_day": None if sd_write_mib is None else sd_write_mib * MIB,
    }
    run_agent(
        AgentOptions(
            fleet_url=fleet,
            state_dir=state_dir or default_state_dir(),
            token=_token(token, token_file, state_dir=state_dir or default_state_dir()),
            name=name,
            labels=dict(_label(text) for text in labels),
            listen=tuple(hosts),
            port=port,
            access=access,
            limits=replace(limits.agent, **{name: value for name, value in chosen.items() if value is not None}),
            serving=limits.serving,
            shadow=limits.shadow,
            monitor=limits.monitor,
            sequences=limits.sequences,
            mqtt=mqtt,
        )
    )


def _token(typed: str | None, file: Path | None, *, state_dir: Path) -> str | None:
    """Return the token that was given; a device that has joined needs the file no longer."""
    if file is None:
        return typed
    if click.get_current_context().get_parameter_source("token") is ParameterSource.COMMANDLINE:
        raise InputError("--token and --token-file give the same: give one")
    if file != STDIN and not file.exists() and (state_dir / "identity.json").exists():
        return None
    return read_secret(file, option="--token-file")


def default_state_dir() -> Path:
    """Return where a fleet's device keeps its state unless told otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "edgemm"


def state_dir_of_service() -> Path | None:
    """Return the state folder that systemd made for the service, `StateDirectory=` in its unit; None outside of one."""
    found = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(found) if found else None


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"expected KEY=VALUE, found {text!r}", param_hint="--label")
    return key, value
