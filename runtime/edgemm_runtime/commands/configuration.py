"""The configuration file of `edgemm run` (`--config FILE`): every limit of a device, in TOML.

    [serving]
    max_body_bytes = 8388608

    [agent]
    telemetry_interval_s = 300

Each table sets fields of one class of limits, and what a file leaves out keeps its default. An option on the command
line is stronger than the file. A name that is not known is an error and never ignored: a limit with a spelling mistake
would not hold.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgemm import plain_text
from edgemm.errors import InputError
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.shadow.shadow_limits import ShadowLimits

LimitsT = TypeVar("LimitsT", ServingLimits, AgentLimits, ShadowLimits, SequenceLimits)
MAX_BYTES = 64 * 1024
"""Largest configuration file."""
MAY_BE_ZERO = frozenset(
    {
        "awake_s",
        "damaged_retries",
        "drain_s",
        "gather_s",
        "linger_s",
        "max_waiting",
        "quick_bytes",
        "quick_s",
        "reserve_bytes",
        "state_reserve_bytes",
        "stop_timeout_s",
    }
)
"""Limits of which 0 means "none" or "at once"; 0 of any other would stop the device."""

_RENAMED = {"max_buffered_bytes": "memory_bytes"}
"""Names that files of earlier versions have."""

_MOST = 10**15
_MOST_S = 365 * 86_400
"""A year. What is much longer overflows the clocks of the system."""
_MOST_KEEPALIVE_S = 65_535
"""MQTT has 16 bits for it."""


@dataclass(frozen=True)
class DeviceConfiguration:
    """All limits of a device, as `--config FILE` and the defaults give them; one field for each table of the file."""

    serving: ServingLimits = field(default_factory=ServingLimits)
    agent: AgentLimits = field(default_factory=AgentLimits)
    shadow: ShadowLimits = field(default_factory=ShadowLimits)
    sequences: SequenceLimits = field(default_factory=SequenceLimits)


def read_configuration(path: Path) -> DeviceConfiguration:
    """Return what a configuration file says.

    Raises:
        InputError: it cannot be read, is no TOML, or a name or value in it can never work.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"{path}: cannot be read: {err.strerror or err}") from err
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: expected a configuration of at most {MAX_BYTES:,} bytes, found more")
    return parse_configuration(plain_text.read(data, name=str(path)), name=str(path))


def parse_configuration(text: str, *, name: str) -> DeviceConfiguration:
    """Return what the text of a configuration says; `name` is what errors call it.

    Raises:
        InputError: it is no TOML, or a name or value in it can never work.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise InputError(f"{name}: expected TOML: {err}") from err
    defaults = DeviceConfiguration()
    known = [one.name for one in dataclasses.fields(defaults)]
    for key, table in tables.items():
        if key not in known:
            raise InputError(f"{name}: {_unknown('table', key, [f'[{one}]' for one in known])}")
        if not isinstance(table, Mapping):
            raise InputError(f"{name}: {key}: expected a table, [{key}], found {table!r}")
    return DeviceConfiguration(
        serving=_limits(defaults.serving, tables.get("serving", {}), name=f"{name}: serving"),
        agent=_limits(defaults.agent, tables.get("agent", {}), name=f"{name}: agent"),
        shadow=_limits(defaults.shadow, tables.get("shadow", {}), name=f"{name}: shadow"),
        sequences=_limits(defaults.sequences, tables.get("sequences", {}), name=f"{name}: sequences"),
    )


def _limits(defaults: LimitsT, table: Mapping[str, Any], *, name: str) -> LimitsT:
    known = [one.name for one in dataclasses.fields(defaults)]
    found: dict[str, Any] = {}
    for given, value in table.items():
        key = _RENAMED.get(given, given)
        key = key if key in known else given
        if key != given and key in table:
            continue  # the new name is stronger
        if key not in known:
            raise InputError(f"{name}: {_unknown('limit', key, known)}")
        found[key] = _number(value, key, wanted=type(getattr(defaults, key)), name=f"{name}.{given}")
    return dataclasses.replace(defaults, **found)


def _number(value: object, key: str, *, wanted: type, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if wanted is int else int | float):
        kind = "a whole number" if wanted is int else "a number"
        raise InputError(f"{name}: expected {kind}, found {value!r}")
    if not math.isfinite(value) or value < 0 or (value == 0 and key not in MAY_BE_ZERO):
        least = "at least 0" if key in MAY_BE_ZERO else "above 0"
        raise InputError(f"{name}: expected a number {least}, found {value!r}")
    if key.endswith("_share") and value > 1:
        raise InputError(f"{name}: expected a share, at most 1, found {value!r}")
    if value > (most := _most(key)):
        raise InputError(f"{name}: expected a number at most {most:,}, found {value!r}")
    return int(value) if wanted is int else float(value)


def _most(key: str) -> int:
    if key == "keepalive_s":
        return _MOST_KEEPALIVE_S
    return _MOST_S if key.endswith("_s") and not key.endswith("_per_s") else _MOST


def _unknown(what: str, key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(f"[{key}]" if what == "table" else key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"there is no {what} {key!r}; {hint}"
