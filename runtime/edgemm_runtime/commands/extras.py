"""The check of edgemm's optional parts: reads from the distributions' metadata alone which are installed."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, requires, version

from msgspec import Struct

from edgemm.versions import release_tuple

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)[^;>=]*(?:>=(?P<minimum>[0-9.]+))?[^;]*;\s*extra == .(?P<extra>\w+)."
)


class Extra(Struct, frozen=True):
    """An optional part: what of it is missing or too old, by distribution."""

    name: str
    problems: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What to tell a person."""
        if not self.problems:
            return "complete"
        return f"pip install 'edgemm[{self.name}]'  (missing: {', '.join(self.problems)})"


def read_extras() -> tuple[Extra, ...]:
    """Compare what the installed edgemm asks for with what is here."""
    try:
        lines = requires("edgemm") or []
    except PackageNotFoundError:
        return ()
    return examine(lines)


def examine(requirements: list[str]) -> tuple[Extra, ...]:
    """Compare requirements such as `flask>=3.1; extra == "runtime"` with what is here."""
    problems: dict[str, list[str]] = defaultdict(list)
    for line in requirements:
        match = _REQUIREMENT.match(line)
        if match is None or match["name"] == "edgemm":
            continue
        found = problems[match["extra"]]
        if problem := _problem(match["name"], minimum=match["minimum"] or "0"):
            found.append(problem)
    return tuple(Extra(name, tuple(found)) for name, found in sorted(problems.items()))


def _problem(name: str, *, minimum: str) -> str | None:
    try:
        found = version(name)
    except PackageNotFoundError:
        return name
    return None if release_tuple(found) >= release_tuple(minimum) else f"{name}>={minimum} (found {found})"
