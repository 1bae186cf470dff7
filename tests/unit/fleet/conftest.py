from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fleet.api.servers import RunningFleet, serving


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RunningFleet]:
    """A fleet's API on plain loopback."""
    with serving(tmp_path / "fleet") as running:
        yield running
