"""docs/capacity.md and the health of the manager in docs/fleet-server.md: findings, metrics, limits and commands."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgemm_fleet.api.messages import FleetStatus
from edgemm_fleet.health.health_findings import Finding, FindingName
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.http.http_limits import HttpLimits
from edgemm_fleet.http.refusal_reasons import by_reason
from edgemm_fleet.ingest.ingest_counters import IngestCounters
from edgemm_fleet.store import Store
from simulators.metrics import exposed
from tests.docs.pages import DOCS, blocks, tables

PAGE, SERVER = DOCS / "capacity.md", DOCS / "fleet-server.md"
UNMEASURED = "*to be measured*"


def test_the_page_lists_every_finding() -> None:
    rows = tables(SERVER)["Is it healthy?"]
    assert {row[0].strip("`") for row in rows} == set(FindingName)


def test_the_page_names_every_field_of_the_document() -> None:
    text = SERVER.read_text().partition("## Is it healthy?")[2].partition("## Its log")[0]
    for name in (*FleetStatus.__struct_fields__, *Finding.__struct_fields__):
        assert f"`{name}`" in text, name


def test_the_screen_that_is_shown_fits_a_terminal() -> None:
    (screen,) = (block.text for block in blocks(SERVER) if block.language == "console" and "NOT HEALTHY" in block.text)
    lines = screen.splitlines()[1:]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_the_example_of_the_log_is_json() -> None:
    (example,) = (block.text for block in blocks(SERVER) if block.language == "json")
    found = json.loads(example)
    assert {"at", "level", "logger", "event", "fields", "text"} == found.keys()


@pytest.mark.parametrize("page", [PAGE, SERVER, DOCS / "keys.md"], ids=lambda page: page.stem)
def test_the_metrics_that_are_named_are_there(page: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "fleet.db")
    hearing = Hearing(IngestCounters().snapshot, refused=lambda: by_reason({}))
    families = text_string_to_metric_families(exposed(store, fleet="x", hearing=hearing))
    shown = {sample.name for family in families for sample in family.samples}
    store.close()
    named = set(re.findall(r"edgemm_fleet_[a-z_]+", page.read_text()))
    assert named
    assert named <= shown


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row[0]: row[1] for row in tables(PAGE)["What one machine carries"]}
    limits = HttpLimits()
    assert rows["downloads at once"] == f"{limits.downloads}, of them {limits.token_downloads} of one token"
    assert rows["connections of the API"] == f"{limits.connections:,}"


def test_every_figure_has_a_command_that_there_is() -> None:
    for what, figure, by in tables(PAGE)["What one machine carries"]:
        if figure == UNMEASURED:
            continue
        found = re.fullmatch(r"`(?:python -m (benchmarks\.\w+)[^`]*|(\w[\w/.]+))`", by)
        assert found, what
        if found[1]:
            assert importlib.util.find_spec(found[1]) is not None, by
        else:
            assert (DOCS.parent / found[2]).exists(), by
