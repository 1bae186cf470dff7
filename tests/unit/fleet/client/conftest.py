from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemm_fleet.client import FleetClient
from tests.unit.fleet.api.servers import RunningFleet, serving


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningFleet]:
    """A fleet's API over TLS, and a configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with serving(tmp_path / "fleet", scheme="https") as running:
        yield running


@pytest.fixture
def publisher(fleet: RunningFleet) -> Iterator[FleetClient]:
    """A client with the publisher's token."""
    with FleetClient(fleet.profile("publisher")) as client:
        yield client


@pytest.fixture
def admin(fleet: RunningFleet) -> Iterator[FleetClient]:
    with FleetClient(fleet.profile("admin")) as client:
        yield client
