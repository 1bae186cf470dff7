import pytest

from tests.unit.fleet.api.servers import serving


@pytest.fixture
def fleet(tmp_path):
    """A fleet's API on plain loopback."""
    with serving(tmp_path / "fleet") as running:
        yield running
