"""The table of engines: edgemm's own, and those that installed packages add."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from edgemm import plugins
from edgemm.bundle.engine_facts import Engine, all_engines, facts_of, with_suffix
from edgemm.errors import EngineUnavailableError, EnvironmentFailure
from edgemm_runtime.engines.drivers import driver_of
from simulators import packages
from simulators.toy_engine.facts import FACTS

Install: TypeAlias = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages that bring engines, for this process."""

    def with_entries(**groups: dict[str, str]) -> None:
        entries = {f"edgemm.{group}": found for group, found in groups.items()}
        packages.install(tmp_path, "toy-engine", version="1.2.0", entry_points=entries)
        monkeypatch.syspath_prepend(str(tmp_path))
        _forget()

    yield with_entries
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    importlib.invalidate_caches()
    plugins.registered.cache_clear()
    plugins.load.cache_clear()


def test_every_engine_of_edgemm_is_in_the_table() -> None:
    assert [facts.id for facts in all_engines()] == list(Engine)
    for facts in all_engines():
        assert with_suffix(facts.suffix) == facts_of(facts.id) == facts
        assert facts.distributions


def test_an_installed_package_adds_one(install: Install) -> None:
    install(engines={"toy": "simulators.toy_engine.facts:FACTS"})
    assert [facts.id for facts in all_engines()] == [*Engine, "toy"]
    assert with_suffix(".toy") == facts_of("toy") == FACTS


@pytest.mark.parametrize(
    "value", ["no_such_module:FACTS", "simulators.toy_engine.facts:NO", "simulators.packages:install"]
)
def test_a_broken_package_costs_its_own_engine_alone(
    install: Install, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    install(engines={"toy": value})
    with caplog.at_level(logging.WARNING):
        assert [facts.id for facts in all_engines()] == list(Engine)
    assert "engine left out" in caplog.text


def test_an_engine_of_edgemm_cannot_be_replaced(install: Install) -> None:
    before = facts_of(Engine.ONNX)
    install(engines={"onnx": "simulators.toy_engine.facts:FACTS"}, drivers={"onnx": "simulators.toy_engine.driver"})
    assert facts_of(Engine.ONNX) == before
    assert [facts.id for facts in all_engines()] == list(Engine)
    assert driver_of(Engine.ONNX) is importlib.import_module("edgemm_runtime.engines.onnxruntime")


def test_what_does_not_import_names_its_package(install: Install) -> None:
    install(engines={"toy": "simulators.toy_engine.facts:FACTS"}, drivers={"toy": "no_such_module"})
    with pytest.raises(EnvironmentFailure, match="toy-engine: its entry 'toy' of edgemm.drivers, no_such_mod"):
        plugins.load("edgemm.drivers", "toy")
    with pytest.raises(EngineUnavailableError, match="toy-engine is installed but does not import"):
        driver_of("toy")


def test_without_a_driver_an_engine_is_not_here(install: Install) -> None:
    install(engines={"toy": "simulators.toy_engine.facts:FACTS"})
    with pytest.raises(EngineUnavailableError, match="'toy' has no driver here"):
        driver_of("toy")
