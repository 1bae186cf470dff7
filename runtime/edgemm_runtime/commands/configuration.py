"""The configuration file of `edgemm run` (`--config FILE`): options, a few limits under their own names, and the rest.

    port = 8080
    max_body_bytes = 8388608

    [advanced.agent]
    spool_bytes = 33554432

An option of `run` stands at the top by its name (`edgemm.configuration.options`), and so do the limits that people
change (`SETTINGS`). Every limit is a field of a class of limits, in the table of `[advanced]` for that class, too.
Files of before have those tables at the top, without `advanced`. A name that is not known is an error and never
ignored: a limit with a spelling mistake would not hold.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgemm.configuration import toml_file
from edgemm.configuration.options import FileRules
from edgemm.errors import InputError
from edgemm_runtime.agent.state.agent_options import AgentLimits
from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.models.sequence_limits import SequenceLimits
from edgemm_runtime.monitoring.monitor_limits import MonitorLimits
from edgemm_runtime.shadow.shadow_limits import ShadowLimits

ADVANCED = "advanced"
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
        "requests_per_minute",
        "reserve_bytes",
        "state_reserve_bytes",
        "stop_timeout_s",
    }
)
"""Limits of which 0 means "none" or "at once"; 0 of any other would stop the device."""

RENAMED: Mapping[str, str] = MappingProxyType({"max_buffered_bytes": "memory_bytes"})
"""Names of limits in files of earlier versions → their present names."""

_MOST = 10**15
_MOST_S = 365 * 86_400
"""A year. What is much longer overflows the clocks of the system."""
_MOST_KEEPALIVE_S = 65_535
"""MQTT has 16 bits for it."""
_LEAST_TELEMETRY_S = 1.0
"""More often, windows of counters would wear a card, and fill the fleet's store."""


@dataclass(frozen=True)
class Setting:
    """A limit that people change: its class of limits, its field there, and its bounds."""

    table: str
    field: str
    least: float
    most: float

    def has(self, value: float) -> bool:
        """Tell whether a value is within the bounds."""
        return self.least <= value <= self.most


_MIB = 1024 * 1024
SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "max_body_bytes": Setting("serving", "max_body_bytes", 1024, 1024 * _MIB),
        "memory_bytes": Setting("serving", "memory_bytes", _MIB, 1024 * 1024 * _MIB),
        "threads": Setting("serving", "threads", 1, 1024),
        "telemetry_interval_s": Setting("agent", "telemetry_interval_s", _LEAST_TELEMETRY_S, 3600),
    }
)
"""By their names in a file."""


@dataclass(frozen=True)
class DeviceConfiguration:
    """All limits of a device, as `--config FILE` and the defaults give them; one field for each class of them."""

    serving: ServingLimits = field(default_factory=ServingLimits)
    agent: AgentLimits = field(default_factory=AgentLimits)
    shadow: ShadowLimits = field(default_factory=ShadowLimits)
    sequences: SequenceLimits = field(default_factory=SequenceLimits)
    monitor: MonitorLimits = field(default_factory=MonitorLimits)

    def with_monitor_rate(self, requests_per_minute: int | None) -> DeviceConfiguration:
        """Return the same with another rate of monitored requests, where one is given."""
        if requests_per_minute is None:
            return self
        monitor = dataclasses.replace(self.monitor, requests_per_minute=requests_per_minute)
        return dataclasses.replace(self, monitor=monitor)


TABLES = tuple(one.name for one in dataclasses.fields(DeviceConfiguration))
RULES = FileRules(
    secrets={"token": "put it into a file, and name that by token_file; or set EDGEMM_TOKEN"},
    elsewhere={
        "telemetry_interval": "it is called telemetry_interval_s in a file",
        **{
            limit.name: f"it stands in [{ADVANCED}.{table}]"
            for table in TABLES
            for limit in dataclasses.fields(getattr(DeviceConfiguration(), table))
            if limit.name not in SETTINGS
        },
    },
    tables=(*SETTINGS, ADVANCED, *TABLES),
)
"""What a file of `edgemm run` may have."""


def read_configuration(path: Path) -> DeviceConfiguration:
    """Return the limits that a configuration file gives; its options are click's matter.

    Raises:
        InputError: it cannot be read, is no TOML, or a limit in it can never work.
    """
    table = toml_file.read(path)
    return read_limits({key: value for key, value in table.items() if key in RULES.tables}, name=str(path))


def read_limits(table: Mapping[str, Any], *, name: str) -> DeviceConfiguration:
    """Return the limits in what a file has beside options; `name` is what errors call the file.

    Raises:
        InputError: a name or value can never work, or is given twice.
    """
    defaults = DeviceConfiguration()
    found: dict[str, dict[str, Any]] = {one: {} for one in TABLES}
    for where, kind, key, value in _entries(table, name=name):
        limits = getattr(defaults, kind)
        if key in found[kind]:
            raise InputError(f"{name}: {where} is given twice: {key} of [{kind}] has another place too")
        found[kind][key] = _number(value, key, wanted=type(getattr(limits, key)), name=f"{name}: {where}")
    return DeviceConfiguration(
        serving=dataclasses.replace(defaults.serving, **found["serving"]),
        agent=dataclasses.replace(defaults.agent, **found["agent"]),
        shadow=dataclasses.replace(defaults.shadow, **found["shadow"]),
        sequences=dataclasses.replace(defaults.sequences, **found["sequences"]),
        monitor=dataclasses.replace(defaults.monitor, **found["monitor"]),
    )


def given_limits(table: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return which limits a file gives, as (class, field); it has been read without an error."""
    return {(kind, key) for _, kind, key, _ in _entries(table, name="")}


def _entries(table: Mapping[str, Any], *, name: str) -> Iterator[tuple[str, str, str, Any]]:
    """Yield what a file gives: where it stands, the class of limits, the field, the value."""
    for key, setting in SETTINGS.items():
        if key in table:
            _check_setting(table[key], setting, name=f"{name}: {key}")
            yield key, setting.table, setting.field, table[key]
    advanced = _table(table.get(ADVANCED, {}), ADVANCED, name=name)
    for kind, limits in advanced.items():
        if kind not in TABLES:
            known = [f"[{ADVANCED}.{one}]" for one in TABLES]
            raise InputError(f"{name}: {toml_file.unknown('table', f'[{ADVANCED}.{kind}]', known)}")
        for where, field_, value in _limits(limits, kind, f"{ADVANCED}.{kind}", name=name):
            yield where, kind, field_, value
    for kind in TABLES:
        for where, field_, value in _limits(table.get(kind, {}), kind, kind, name=name):
            yield where, kind, field_, value


def _limits(limits: object, kind: str, at: str, *, name: str) -> Iterator[tuple[str, str, Any]]:
    known = [one.name for one in dataclasses.fields(getattr(DeviceConfiguration(), kind))]
    for given, value in _table(limits, at, name=name).items():
        key = RENAMED.get(given, given)
        if key not in known:
            raise InputError(f"{name}: {at}: {toml_file.unknown('limit', given, known)}")
        yield f"{at}.{given}", key, value


def _table(value: object, at: str, *, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: {at}: expected a table, [{at}], found {toml_file.written(value)}")
    return value


def _check_setting(value: object, setting: Setting, *, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return  # said by what reads it
    if not setting.has(value):
        bounds = f"from {setting.least:,.0f} to {setting.most:,.0f}"
        raise InputError(f"{name}: expected a number {bounds}, found {value!r}")


def _number(value: object, key: str, *, wanted: type, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if wanted is int else int | float):
        kind = "a whole number" if wanted is int else "a number"
        raise InputError(f"{name}: expected {kind}, found {toml_file.written(value)}")
    if not math.isfinite(value) or value < 0 or (value == 0 and key not in MAY_BE_ZERO):
        least = "at least 0" if key in MAY_BE_ZERO else "above 0"
        raise InputError(f"{name}: expected a number {least}, found {value!r}")
    if key == "telemetry_interval_s" and value < _LEAST_TELEMETRY_S:
        raise InputError(f"{name}: expected a number at least {_LEAST_TELEMETRY_S:g}, found {value!r}")
    if key.endswith("_share") and value > 1:
        raise InputError(f"{name}: expected a share, at most 1, found {value!r}")
    if value > (most := _most(key)):
        raise InputError(f"{name}: expected a number at most {most:,}, found {value!r}")
    return int(value) if wanted is int else float(value)


def _most(key: str) -> int:
    if key == "keepalive_s":
        return _MOST_KEEPALIVE_S
    return _MOST_S if key.endswith("_s") and not key.endswith("_per_s") else _MOST
