"""Fixtures that any test may use."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """Take a busy machine for what it is, and let processes that tests start be interrupted.

    A shell starts what runs in its background without interrupts.
    """
    settings.register_profile("edgemm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("edgemm")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_cache() -> Iterator[None]:
    """Have conversions made, not taken from a cache that an earlier run or a user filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEMM_CACHE", "")
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data: `EDGEMM_SHARED`, or `../shared` beside the checkout."""
    folder = Path(os.environ.get("EDGEMM_SHARED", ROOT.parent / "shared"))
    if not (folder / "models").is_dir():
        reason = f"no real models at {folder}: set EDGEMM_SHARED to their folder"
        if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    """The Mosquitto broker's program."""
    found = which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = "Mosquitto is not installed: apt-get install mosquitto"
        if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, in memory where the machine has such: for thousands of writes that are each made durable."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
