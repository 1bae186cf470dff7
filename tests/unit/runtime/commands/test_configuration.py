"""The configuration file of a device: every limit can be set, and a mistake is one clear line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgemm.errors import InputError
from edgemm_runtime.commands.configuration import (
    MAX_BYTES,
    MAY_BE_ZERO,
    DeviceConfiguration,
    parse_configuration,
    read_configuration,
)

TABLES = {one.name: getattr(DeviceConfiguration(), one.name) for one in dataclasses.fields(DeviceConfiguration)}
EVERY = [(table, one.name) for table, limits in TABLES.items() for one in dataclasses.fields(limits)]


@pytest.mark.parametrize(("table", "name"), EVERY, ids=lambda value: value)
def test_every_limit_can_be_set(table: str, name: str) -> None:
    default = getattr(TABLES[table], name)
    other = default / 2 if isinstance(default, float) else default + 1
    found = parse_configuration(f"[{table}]\n{name} = {other!r}\n", name="edgemm.toml")
    assert getattr(getattr(found, table), name) == other
    assert type(getattr(getattr(found, table), name)) is type(default)
    changed = dataclasses.replace(getattr(found, table), **{name: default})
    assert dataclasses.replace(found, **{table: changed}) == DeviceConfiguration()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edgemm.toml"
    path.write_text("# nothing yet\n")
    assert read_configuration(path) == DeviceConfiguration()


def test_a_limit_has_the_name_too_that_it_had_before() -> None:
    old, new = "max_buffered_bytes = 1000000\n", "memory_bytes = 2000000\n"
    for text, found in ((old, 1_000_000), (old + new, 2_000_000), (new + old, 2_000_000)):
        assert parse_configuration(f"[serving]\n{text}", name="edgemm.toml").serving.memory_bytes == found
    with pytest.raises(InputError, match="no limit 'max_buffered_bytes'"):
        parse_configuration(f"[agent]\n{old}", name="edgemm.toml")
    with pytest.raises(InputError, match=r"serving\.max_buffered_bytes: expected a number above 0"):
        parse_configuration("[serving]\nmax_buffered_bytes = 0\n", name="edgemm.toml")


def test_every_name_that_may_be_zero_is_a_limit() -> None:
    assert {name for _, name in EVERY} >= MAY_BE_ZERO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serving]\nmax_body_byte = 1\n", "serving: there is no limit 'max_body_byte'; did you mean max_body_bytes?"),
        ("[server]\n", "there is no table 'server'; did you mean [serving]?"),
        ("[qqq]\n", "there is no table 'qqq'; known are [serving], [agent], [shadow]"),
        ("serving = 3\n", "serving: expected a table, [serving], found 3"),
        ("[serving]\nthreads = 2.5\n", "serving.threads: expected a whole number, found 2.5"),
        ("[serving]\nthreads = true\n", "serving.threads: expected a whole number, found True"),
        ("[serving]\nrequest_s = 'long'\n", "serving.request_s: expected a number, found 'long'"),
        ("[serving]\nrequest_s = nan\n", "serving.request_s: expected a number above 0, found nan"),
        ("[serving]\nrequest_s = inf\n", "serving.request_s: expected a number above 0, found inf"),
        ("[agent]\nspool_bytes = 0\n", "agent.spool_bytes: expected a number above 0, found 0"),
        ("[serving]\ndrain_s = -1\n", "serving.drain_s: expected a number at least 0, found -1"),
        ("[shadow]\nbusy_share = 1.5\n", "shadow.busy_share: expected a share, at most 1, found 1.5"),
        ("[serving]\ndrain_s = 1e300\n", "serving.drain_s: expected a number at most 31,536,000, found 1e+300"),
        ("[agent]\nkeepalive_s = 70000\n", "agent.keepalive_s: expected a number at most 65,535, found 70000"),
        (f"[agent]\nspool_bytes = {10**20}\n", "agent.spool_bytes: expected a number at most 1,000,000,000,000,000"),
        ("[serving\n", "expected TOML"),
        ("[serving]\nthreads = " + "[" * 5000 + "\n", "expected TOML"),
    ],
)
def test_a_mistake_is_one_clear_line(text: str, expected: str) -> None:
    with pytest.raises(InputError, match="^edgemm.toml: ") as caught:
        parse_configuration(text, name="edgemm.toml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_too_large_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing.toml: cannot be read: No such file"):
        read_configuration(tmp_path / "missing.toml")
    large, binary = tmp_path / "large.toml", tmp_path / "binary.toml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    binary.write_bytes(b"# \xff\n")
    with pytest.raises(InputError, match="at most 65,536 bytes"):
        read_configuration(large)
    with pytest.raises(InputError, match=r"binary.toml, line 1: expected text in UTF-8, found the byte 0xff"):
        read_configuration(binary)


def test_a_byte_order_mark_is_read_over_and_utf_16_is_named(tmp_path: Path) -> None:
    marked, wide = tmp_path / "marked.toml", tmp_path / "wide.toml"
    marked.write_text("[serving]\n", encoding="utf-8-sig")
    wide.write_text("[serving]\n", encoding="utf-16")
    assert read_configuration(marked) == DeviceConfiguration()
    with pytest.raises(InputError, match=r"wide.toml: expected text in UTF-8, found UTF-16: save it as UTF-8"):
        read_configuration(wide)
