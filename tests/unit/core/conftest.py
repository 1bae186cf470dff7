from pathlib import Path

import pytest

from tests.unit.core.bundles import small_bundle


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A small valid bundle file."""
    path = tmp_path / "digits-1.0.0.edgemm"
    small_bundle(path)
    return path
