"""The page of settings: every setting and limit with its bounds and default, as the code has them; its examples run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import urllib3

from edgemm.cli import run
from edgemm_fleet.trust.certificate import create_certificate
from edgemm_runtime.commands.configuration import SETTINGS, DeviceConfiguration, read_limits
from edgemm_runtime.commands.run import run as run_command
from simulators.models import make_bundle
from tests.docs.pages import DOCS, ROOT, blocks, tables

PAGE = DOCS / "configuration.md"
KEY = "0123456789abcdef"
HEADINGS = {
    "serving": "Serving: `[advanced.serving]`",
    "agent": "The agent: `[advanced.agent]`",
    "shadow": "Shadows: `[advanced.shadow]`",
    "sequences": "Sequences: `[advanced.sequences]`",
    "monitor": "Monitoring: `[advanced.monitor]`",
}
BY_MACHINE = {
    "loops": "CPUs, at most 4",
    "memory_bytes": "a quarter of the memory, at most 268,435,456",
    "threads": "2 × CPUs, at least 4",
}
"""Defaults that follow from the machine."""


def rows_of(limits: object) -> Iterator[list[str]]:
    """Yield what the page's table says of a class of limits: name, default, first paragraph of the docstring."""
    body = ast.parse(inspect.getsource(type(limits))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            assert isinstance(after, ast.Expr), name
            assert isinstance(after.value, ast.Constant), name
            words = " ".join(str(after.value.value).split("\n\n", maxsplit=1)[0].split())
            yield [f"`{name}`", BY_MACHINE.get(name) or f"{getattr(limits, name):,}", words.replace("`", "")]


@pytest.mark.parametrize("table", HEADINGS)
def test_a_table_has_every_limit_as_the_code_has_it(table: str) -> None:
    limits = getattr(DeviceConfiguration(), table)
    wanted = list(rows_of(limits))
    assert [row[0].strip("`") for row in wanted] == [one.name for one in dataclasses.fields(limits)]
    found = [[cell.replace("`", "") for cell in row] for row in tables(PAGE)[HEADINGS[table]]]
    assert found == [[cell.replace("`", "") for cell in row] for row in wanted], "\n".join(
        f"| {' | '.join(row)} |" for row in wanted
    )


def test_settings_have_the_bounds_and_defaults_of_the_code() -> None:
    rows = {row[0].strip("`"): [cell.replace("`", "") for cell in row] for row in tables(PAGE)["A device"]}
    options = {param.name: param for param in run_command.params}
    for name, [_, default, bounds, _] in rows.items():
        if (setting := SETTINGS.get(name)) is not None:
            value = getattr(getattr(DeviceConfiguration(), setting.table), setting.field)
            assert default == (BY_MACHINE.get(name) or f"{value:,.0f}"), name
            assert bounds == f"{setting.least:,.0f} to {setting.most:,.0f}", name
            continue
        kind = options[name].type
        if isinstance(kind, click.IntRange):
            assert (default, bounds) == (f"{options[name].default:,}", f"{kind.min:,} to {kind.max:,}"), name
        elif isinstance(kind, click.Choice):
            assert (default, bounds) == (options[name].default, ", ".join(kind.choices)), name
        else:
            assert isinstance(kind, click.Path) == bounds.startswith(("a path", "paths")), name
    assert rows.keys() >= SETTINGS.keys()


@pytest.mark.parametrize(("name", "number"), [("edgemm.toml", 0), ("fleet.toml", 1)])
def test_the_page_shows_the_example_files(name: str, number: int) -> None:
    assert blocks(PAGE, "toml")[number].text == (ROOT / "examples" / name).read_text()


def test_the_advanced_example_is_a_configuration() -> None:
    example = blocks(PAGE, "toml")[2]
    assert read_limits(tomllib.loads(example.text), name=str(example)) != DeviceConfiguration()


@pytest.mark.slow
def test_a_device_runs_by_the_example_file(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/edgemm.toml", tmp_path)
    make_bundle(tmp_path / "tiny.edgemm")
    create_certificate(tmp_path / "cert.pem", tmp_path / "key.pem", names=(), now=datetime.now(UTC))
    (tmp_path / "api.key").write_text(KEY)
    with _started("run", "--config", str(tmp_path / "edgemm.toml"), "--listen", "127.0.0.1", "--port", "0") as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert address.startswith("https://127.0.0.1:")
        with urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            large = bytes(8_388_609)
            assert pool.request("GET", f"{address}/v2/models/tiny", timeout=60).status == 401
            asked = pool.request("POST", f"{address}/predict/tiny", body=large, headers={"X-API-Key": KEY}, timeout=60)
            assert asked.status == 413


@pytest.mark.slow
def test_a_fleet_manager_runs_by_the_example_file(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/fleet.toml", tmp_path)
    assert run(["fleet", "init", str(tmp_path / "lab")]) == 0
    with _started("fleet", "serve", "--config", str(tmp_path / "fleet.toml"), "--listen", "127.0.0.1:0") as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
    assert said[0].startswith("API     https://localhost:8443"), said
    assert said[2].startswith("serving fleet lab"), said


@contextmanager
def _started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgemm", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_page_says_what_may_be_zero() -> None:
    from edgemm_runtime.commands.configuration import MAY_BE_ZERO

    sentence = re.search(r"0 is allowed for ([^.]*)\.", " ".join(PAGE.read_text().split()))
    assert sentence
    assert set(re.findall(r"`(\w+)`", sentence[1])) == MAY_BE_ZERO
