"""`edgemm run --print-config`: options and limits as they hold, in a file that can be given back by `--config`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import click

from edgemm.configuration.options import origin, rest
from edgemm.configuration.shown import Shown, kept_back, option_lines, text
from edgemm_runtime.commands.access_options import API_KEY
from edgemm_runtime.commands.being_device import default_state_dir
from edgemm_runtime.commands.configuration import ADVANCED, RULES, SETTINGS, TABLES, DeviceConfiguration, given_limits

_BY_OPTION = {
    ("agent", "telemetry_interval_s"): "telemetry_interval",
    ("agent", "sd_write_bytes_per_day"): "sd_write_mib",
}
"""Limits that an option of the command line sets, and which."""


def shown_configuration(ctx: click.Context, limits: DeviceConfiguration) -> str:
    """Return what `edgemm run` would start with, in this context and with these limits."""
    lines = [_with_default(one, ctx) for one in option_lines(ctx, RULES)]
    at_top = {(one.table, one.field): key for key, one in SETTINGS.items()}
    tables: dict[str, list[Shown]] = {}
    for kind, field, value, source in _limits(ctx, limits):
        key = at_top.get((kind, field))
        if key is not None and isinstance(value, int | float) and SETTINGS[key].has(value):
            lines.append(Shown(key, value, source))
        elif ctx.params.get(_BY_OPTION.get((kind, field), "")) is None:  # else the option's own line has it
            tables.setdefault(f"{ADVANCED}.{kind}", []).append(Shown(field, value, source))
    notes = kept_back(ctx, RULES)
    if ctx.params["api_key_file"] is None and os.environ.get(API_KEY):
        notes.append(f"the API key is set by the environment, and not shown: {API_KEY}")
    file = str(ctx.params["config"])
    return text(lines, tables, notes=notes, where=lambda source: file if source == "file" else source)


def _with_default(line: Shown, ctx: click.Context) -> Shown:
    """Say where a device keeps its state, where nobody said so."""
    if line.name == "state_dir" and line.value is None and ctx.params["fleet"] is not None:
        return dataclasses.replace(line, value=default_state_dir())
    return line


def _limits(ctx: click.Context, limits: DeviceConfiguration) -> Iterator[tuple[str, str, object, str]]:
    """Yield every limit: its class, its field, its value, and where that came from."""
    given = given_limits(rest(ctx))
    for kind in TABLES:
        for field in dataclasses.fields(getattr(limits, kind)):
            where, option = (kind, field.name), _BY_OPTION.get((kind, field.name))
            value, source = getattr(getattr(limits, kind), field.name), "file" if where in given else "default"
            if option == "telemetry_interval" and ctx.params[option] is not None:
                value, source = ctx.params[option], origin(ctx, option)
            yield kind, field.name, value, source
