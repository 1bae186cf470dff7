"""The pages as a whole: links that lead somewhere, and facts that stand in two places."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgemm_fleet.trust.roles import DEFAULT_LIFETIMES
from edgemm_runtime.http.limits import ServingLimits
from tests.docs.pages import DOCS, ROOT, anchor, blocks, headings, links, pages, tables

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EVERY = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
MAX_WIDTH, MAX_RECORD_LINES = 120, 40


@EVERY
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if not re.match(r"https?://", link.target):
            path, _, fragment = link.target.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link.target
            assert target.is_relative_to(ROOT), link.target
            assert not fragment or fragment in {anchor(heading) for heading in headings(target)}, link.target


@EVERY
def test_lines_are_short_outside_of_tables(page: Path) -> None:
    lines = [line for line in page.read_text().splitlines() if not line.startswith("|")]
    assert max(map(len, lines), default=0) <= MAX_WIDTH


@EVERY
def test_every_block_says_its_language(page: Path) -> None:
    allowed = {"bash", "console", "python", "json", "ini", "toml", "yaml", "nginx", ""}
    assert {block.language for block in blocks(page)} <= allowed


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_record_is_short_and_complete(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= MAX_RECORD_LINES
    assert headings(page)[1:] == ["Context", "Decision", "Consequences"]
    assert headings(page)[0].startswith(page.name[:4])


def test_the_map_names_modules_that_exist() -> None:
    page = DOCS / "architecture.md"
    rows = tables(page)
    here = [cell for row in rows["Decisions and I/O"] for cell in row[1:]]
    for name in re.findall(r"`(\w+/[\w/.]+)`", " ".join(here)):
        assert (ROOT / name).exists(), name
    for root, package, *_ in rows["The parts"]:
        link = re.search(r"\]\(\.\./(.*)/\)", root)
        assert link, root
        folder = link[1]
        assert (ROOT / folder / "__init__.py").exists()
        assert folder.endswith(f"/{package.strip('`')}")


def test_the_map_of_changes_names_what_exists() -> None:
    for change, files in tables(DOCS / "architecture.md")["Where common changes go"]:
        names = re.findall(r"`(\w+/[\w/.]+)`", files)
        assert len(names) > 1, change
        assert all((ROOT / name).exists() for name in names), files


@EVERY
def test_no_figure_is_left_out(page: Path) -> None:
    assert "@@" not in page.read_text()


def test_the_map_names_every_part_that_is_packed() -> None:
    packed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    page = (DOCS / "architecture.md").read_text()
    assert all(f"](../{folder}/)" in page for folder in packed)


def test_the_rules_of_imports_are_those_that_are_checked() -> None:
    page = (DOCS / "architecture.md").read_text()
    for contract in PROJECT["tool"]["importlinter"]["contracts"]:
        assert f"\n- {contract['name']}\n" in page


LAYERS = [one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]


@pytest.mark.parametrize("contract", LAYERS, ids=lambda contract: contract["name"])
def test_the_layers_on_the_map_are_those_that_are_checked(contract: dict[str, Any]) -> None:
    rows = tables(DOCS / "architecture.md")[contract["name"][0].upper() + contract["name"][1:]]
    shown = [re.findall(r"`(\w+)`", row[0]) for row in rows]
    assert shown == [re.findall(r"\w+", layer) for layer in contract["layers"]]


def test_what_comes_later_is_not_there_yet() -> None:
    places = [
        re.findall(r"`([\w/.]+)`", row[1])[0] for row in tables(DOCS / "architecture.md")["Where later things go"]
    ]
    new = [place for place in places if not (ROOT / place).exists()]
    assert {Path(place).parts[0] for place in places} <= {"core", "converter", "runtime", "fleet", "tests"}
    assert "core/edgemm/deltas.py" in new
    assert all((ROOT / place).parent.is_dir() for place in new)


def test_the_table_of_platforms_agrees_with_the_package() -> None:
    rows = tables(DOCS / "platforms.md")["Supported Pythons and platforms"]
    extras = {extra for row in rows for extra in re.findall(r"edgemm\[(\w+)\]", row[1])}
    assert extras == set(PROJECT["project"]["optional-dependencies"]) - {"all", "demo"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert f"TensorFlow {'.'.join(pins['tensorflow'].split('.')[:2])} has wheels" in (DOCS / "platforms.md").read_text()


def test_the_threat_model_quotes_the_limits_of_the_code() -> None:
    text = " ".join((DOCS / "threat-model.md").read_text().split())
    assert f"a body over {ServingLimits().max_body_bytes >> 20} MiB" in text
    assert f"timestamp expires after {DEFAULT_LIFETIMES.timestamp.days} day" in text
    assert f"snapshot after {DEFAULT_LIFETIMES.snapshot.days}." in text


@pytest.mark.parametrize("row", tables(DOCS / "threat-model.md")["Shown by tests"], ids=lambda row: row[0])
def test_a_claim_of_the_threat_model_names_a_test_that_exists(row: list[str]) -> None:
    link = re.fullmatch(r"\[`(\w+)`\]\(\.\./(.+)\)", row[1])
    assert link, row
    name, path = link.groups()
    assert f"\ndef {name}(" in (ROOT / path).read_text()


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    version = PROJECT["project"]["version"]
    assert "## [Unreleased]" in text
    assert version in text


def test_the_contributor_guide_names_every_script() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.suffix == ""}
    assert {name for name in scripts if f"scripts/{name}" in text} == scripts
