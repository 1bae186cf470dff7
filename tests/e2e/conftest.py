"""Fixtures of the end-to-end tests; where one fails, the ends of all its processes' logs are shown."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleets import Fleet
from tests.e2e.processes import Place, Programs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the logs of the processes that a failed test used."""
    report = yield
    if report.failed:
        for name, fixture in getattr(item, "funcargs", {}).items():
            if callable(logs := getattr(fixture, "logs", None)):
                report.sections.append((f"processes of {name}", logs()))
    return report


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder to run commands in."""
    return Place.make(tmp_path)


@pytest.fixture
def programs(place: Place) -> Iterator[Programs]:
    """Programs that end with the test."""
    with Programs(place) as found:
        yield found


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A served fleet over plain HTTP on loopback with the embedded broker, and nothing in it."""
    with Fleet(tmp_path) as found:
        yield found.up()
