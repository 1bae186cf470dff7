"""The parts that `scripts/test PART` runs, and how a test tells its own: by its folder, or by a marker.

A folder below `tests/` that is named like a part, or stands in `FOLDERS`, gives its tests to that part. A file in a
folder of several parts names them: `pytestmark = [pytest.mark.runtime, pytest.mark.fleet]`. A test of no part would be
run by nobody who changes something, so it is refused when tests are collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

PARTS = ("core", "converter", "runtime", "fleet", "docs", "benchmarks")
FOLDERS: Mapping[str, str] = {"device": "runtime", "rollout": "fleet", "simulators": "benchmarks"}
"""Folders that are named otherwise → their part."""


def of_folder(path: PurePath) -> str | None:
    """Return the part of the tests in a file, whose path is relative to `tests/`; None where folders do not tell."""
    for folder in path.parts[:-1]:
        found = FOLDERS.get(folder, folder)
        if found in PARTS:
            return found
    return None


def without(tests: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Return the names of those tests whose markers name no part."""
    return [name for name, markers in tests if not set(PARTS) & set(markers)]
