"""Fixtures that any test may use."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from simulators import needs
from simulators.forked_programs import ProgramServer
from tests import order, parts
from tests.once import once
from tests.programs import ROOT, Forked, environment


def pytest_configure() -> None:
    """Take a busy machine for what it is, and let processes that tests start be interrupted.

    A shell starts what runs in its background without interrupts.
    """
    settings.register_profile("edgemm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("edgemm")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is not installed, nothing calls it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a module to one worker where they share a story; with `--dist loadgroup`.

    What a module's own fixture starts (a fleet, a broker, minutes of conversions) would otherwise be started by each.
    They begin in the order in which they are collected (tests/order.py): that of xdist has the longest tests last.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByStory(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    if config.getvalue("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return ByStory(config, log)


def _unit(nodeid: str) -> str:
    """Return what one worker runs in one go, of which a test is: its module, or itself."""
    module = nodeid.partition("::")[0]
    return module if shares_a_story(ROOT / module) else nodeid


@cache
def shares_a_story(module: Path) -> bool:
    """Tell whether a test module has a fixture that is made once for it."""
    text = module.read_text()
    return '(scope="module"' in text or "(scope=shared_scope" in text


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark each test with its part, by which `-m` chooses; of those that it leaves, put the long ones first."""
    _mark_parts(items)
    yield
    items[:] = order.longest_first(items, module=_module, unit=lambda item: _unit(item.nodeid))


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _mark_parts(items: list[pytest.Item]) -> None:
    """Mark each test with the part that its folder belongs to."""
    for item in items:
        if (part := parts.of_folder(item.path.relative_to(ROOT / "tests"))) is not None:
            item.add_marker(part)
    if lost := parts.without((item.nodeid, (m.name for m in item.iter_markers())) for item in items):
        raise pytest.UsageError(
            f"{lost[0]}: expected a folder or a marker of a part ({', '.join(parts.PARTS)}), found none; "
            f"{len(lost)} tests are of no part: add pytestmark to the file, see tests/parts.py"
        )


@pytest.fixture(scope="session", autouse=True)
def no_cache() -> Iterator[None]:
    """Have conversions made, not taken from a cache that an earlier run or a user filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEMM_CACHE", "")
        yield


@pytest.fixture(scope="session", autouse=True)
def over_postgresql() -> Iterator[None]:
    """Have stores be in PostgreSQL where `EDGEMM_TEST_DB` says so (tests/databases.py)."""
    if os.environ.get("EDGEMM_TEST_DB") != "postgresql":
        yield
        return
    from tests.databases import served

    installed_postgresql()
    with pytest.MonkeyPatch.context() as patch:
        yield from served(patch)


@pytest.fixture(autouse=True)
def no_database_left(over_postgresql: None) -> Iterator[None]:
    """Take the databases of a test away after it."""
    yield
    if os.environ.get("EDGEMM_TEST_DB") == "postgresql":
        from tests.databases import end_of_test

        end_of_test()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data: `EDGEMM_SHARED`, or `../shared` beside the checkout."""
    folder = needs.shared_folder()
    if not (folder / "models").is_dir():
        missing(f"no real models at {folder}: set EDGEMM_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """Programs that need not import TensorFlow anew: for what is not about processes."""
    with ProgramServer(environment()) as server:
        yield Forked(server, tmp_path_factory.mktemp("forked"))


@pytest.fixture(scope="session")
def models(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `simulators.keras_models` filled, for all workers; nobody writes to it."""
    return once(tmp_path_factory, "keras_models", lambda folder: forked.simulator("keras_models", folder))


@pytest.fixture(scope="session")
def mosquitto() -> Path:
    """The Mosquitto broker's program."""
    return installed("mosquitto")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program."""
    return installed("chromium")


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The web server's program."""
    return installed("nginx", package="nginx-light")


def installed_postgresql() -> None:
    """Skip what needs PostgreSQL's server, or psycopg, where it is not installed."""
    from simulators.postgresql import programs

    if programs() is None:
        missing("PostgreSQL is not installed: apt-get install postgresql")
    if importlib.util.find_spec("psycopg") is None:
        missing("psycopg is not installed: pip install 'psycopg[binary]'")


def installed(program: str, *, package: str | None = None) -> Path:
    """Return a program of the system, or skip what needs it; Debian's package of it is called the same unless given."""
    found = which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return Path(found) if found else missing(f"{program} is not installed: apt-get install {package or program}")


def missing(reason: str) -> NoReturn:
    """Skip a test for the want of something, or fail it where services are required."""
    if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, in memory where the machine has such: for thousands of writes that are each made durable."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
