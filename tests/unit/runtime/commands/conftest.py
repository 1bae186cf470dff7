from pathlib import Path

import pytest

from simulators.models import make_bundle


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-1.0.0.edgemm"
    make_bundle(path)
    return path
