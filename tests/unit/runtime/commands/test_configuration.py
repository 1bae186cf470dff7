"""The configuration file of a device: every limit can be set, and a mistake is one clear line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgemm.cli import run
from edgemm.configuration import toml_file
from edgemm.configuration.toml_file import MAX_BYTES
from edgemm.errors import InputError
from edgemm_runtime.commands.configuration import (
    ADVANCED,
    MAY_BE_ZERO,
    RULES,
    SETTINGS,
    DeviceConfiguration,
    read_configuration,
    read_limits,
)
from edgemm_runtime.commands.run import run as run_command

TABLES = {one.name: getattr(DeviceConfiguration(), one.name) for one in dataclasses.fields(DeviceConfiguration)}
EVERY = [(table, one.name) for table, limits in TABLES.items() for one in dataclasses.fields(limits)]


def parse(text: str) -> DeviceConfiguration:
    return read_limits(toml_file.parse(text, name="edgemm.toml"), name="edgemm.toml")


@pytest.mark.parametrize("place", [f"{ADVANCED}.", ""], ids=["advanced", "as in earlier versions"])
@pytest.mark.parametrize(("table", "name"), EVERY, ids=lambda value: value)
def test_every_limit_can_be_set(table: str, name: str, place: str) -> None:
    default = getattr(TABLES[table], name)
    other = default / 2 if isinstance(default, float) else default + 1
    found = parse(f"[{place}{table}]\n{name} = {other!r}\n")
    assert getattr(getattr(found, table), name) == other
    assert type(getattr(getattr(found, table), name)) is type(default)
    changed = dataclasses.replace(getattr(found, table), **{name: default})
    assert dataclasses.replace(found, **{table: changed}) == DeviceConfiguration()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "edgemm.toml"
    path.write_text("# nothing yet\n")
    assert read_configuration(path) == DeviceConfiguration()


def test_a_limit_has_the_name_too_that_it_had_before() -> None:
    old, new = {"max_buffered_bytes": 1_000_000}, {"memory_bytes": 2_000_000}
    assert read_limits({"serving": old}, name="edgemm.toml").serving.memory_bytes == 1_000_000
    assert read_limits({"serving": new}, name="edgemm.toml").serving.memory_bytes == 2_000_000
    with pytest.raises(InputError, match="serving.max_buffered_bytes is given twice: memory_bytes"):
        read_limits({"serving": {**new, **old}}, name="edgemm.toml")
    with pytest.raises(InputError, match="no limit 'max_buffered_bytes'"):
        read_limits({"agent": old}, name="edgemm.toml")
    with pytest.raises(InputError, match=r"serving\.max_buffered_bytes: expected a number above 0"):
        read_limits({"serving": {"max_buffered_bytes": 0}}, name="edgemm.toml")


def test_every_name_that_may_be_zero_is_a_limit() -> None:
    assert {name for _, name in EVERY} >= MAY_BE_ZERO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serving]\nmax_body_byte = 1\n", "serving: there is no limit 'max_body_byte'; did you mean max_body_bytes?"),
        ("[advanced.server]\n", "there is no table '[advanced.server]'; did you mean [advanced.serving]?"),
        ("[advanced.serving]\nhead_z = 1\n", "advanced.serving: there is no limit 'head_z'; did you mean head_s?"),
        ("advanced = 3\n", "advanced: expected a table, [advanced], found 3"),
        ("[advanced]\nserving = 3\n", "advanced.serving: expected a table, [advanced.serving], found 3"),
        ("max_body_bytes = 10\n", "max_body_bytes: expected a number from 1,024 to 1,073,741,824, found 10"),
        ("max_body_bytes = 'much'\n", 'max_body_bytes: expected a whole number, found "much"'),
        ("threads = true\n", "threads: expected a whole number, found true"),
        ("telemetry_interval_s = 0.5\n", "telemetry_interval_s: expected a number from 1 to 3,600, found 0.5"),
        ("telemetry_interval_s = nan\n", "telemetry_interval_s: expected a number from 1 to 3,600, found nan"),
        ("[agent]\ntelemetry_interval_s = 0.001\n", "agent.telemetry_interval_s: expected a number at least 1"),
        ("threads = 2\n[serving]\nthreads = 2\n", "serving.threads is given twice"),
        ("[serving]\nhead_s = 2\n[advanced.serving]\nhead_s = 2\n", "serving.head_s is given twice"),
        ("serving = 3\n", "serving: expected a table, [serving], found 3"),
        ("[serving]\nthreads = 2.5\n", "serving.threads: expected a whole number, found 2.5"),
        ("[serving]\nthreads = true\n", "serving.threads: expected a whole number, found true"),
        ("[serving]\nrequest_s = 'long'\n", 'serving.request_s: expected a number, found "long"'),
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
        parse(text)
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


def test_the_bounds_of_a_setting_hold_its_default_and_are_what_the_limit_may_be() -> None:
    for key, setting in SETTINGS.items():
        assert setting.has(getattr(TABLES[setting.table], setting.field)), key
        for value in (setting.least, setting.most):
            parse(f"{key} = {value:.0f}\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edgemm.toml"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["run", *arguments, "--print-config"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def _lines(text: str) -> dict[str, tuple[str, str]]:
    """Return what `--print-config` printed by name: the value as TOML, and where it came from."""
    found = {}
    for line in text.splitlines():
        if " = " in line and not line.startswith("#"):
            name, _, rest = line.partition(" = ")
            value, _, source = rest.rpartition(" # ")
            found[name] = (value.strip(), source)
    return found


def test_what_holds_is_printed_with_where_it_came_from(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEMM_TOKEN", "emt1_geheim")
    monkeypatch.setenv("EDGEMM_API_KEY", "geheim-geheim-geheim")
    file.write_text('bundles = ["a.edgemm"]\nport = 9000\nthreads = 3\n[advanced.serving]\nhead_s = 20\n')
    text = printed(capsys, "--config", str(file), "--port", "9001", "--telemetry-interval", "5min")
    lines = _lines(text)
    assert lines["bundles"] == (f'["{file.parent}/a.edgemm"]', str(file))
    assert lines["port"] == ("9001", "command line")
    assert lines["variant"] == ('"auto"', "default")
    assert lines["threads"] == ("3", str(file))
    assert lines["telemetry_interval_s"] == ("300.0", "command line")
    assert lines["head_s"] == ("20.0", str(file))
    assert "geheim" not in text
    assert "# token is set by the environment, and not shown" in text
    assert "# the API key is set by the environment, and not shown" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        'fleet = "https://somebody:geheim@fleet"\nlabels = ["room=hall"]\nsd_write_mib = 5\n',
        'shadows = ["b.edgemm"]\nshadow_share = 0.25\nmanage = "127.0.0.1:1"\nquiet = true\nlog_level = "error"\n',
        "[serving]\nmax_body_bytes = 1000\n[agent]\ntelemetry_interval_s = 86400\n",
    ],
)
def test_what_is_printed_can_be_fed_back(
    text: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.toml"
    file.write_text(text)
    first = printed(capsys, "--config", str(file))
    again.write_text(first)
    second = printed(capsys, "--config", str(again))
    assert {n: v for n, (v, _) in _lines(second).items()} == {n: v for n, (v, _) in _lines(first).items()}
    assert "geheim" not in first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 1\n", "there is no setting 'prot'; did you mean port?"),
        ("[server]\n", "there is no setting 'server'; did you mean serving?"),
        ("port = '80'\n", 'port: expected a whole number from 0 to 65,535, found "80"'),
        ("port = 70000\n", "port: expected a whole number from 0 to 65,535, found 70000"),
        ("quiet = 1\n", "quiet: expected true or false, found 1"),
        ("log_level = 'loud'\n", 'log_level: expected one of debug, info, warning, error, found "loud"'),
        ("shadow_share = 2\n", "shadow_share: expected a number from 0 to 1, found 2"),
        ("listen = ''\n", 'listen: expected a text, found ""'),
        ("bundles = [1]\n", "bundles: expected a path, found 1"),
        ("tls_key = ['a', 'b']\n", 'tls_key: expected a path, found ["a", "b"]'),
        ("token = 'emt1_geheim'\n", "name that by token_file; or set EDGEMM_TOKEN"),
        ("telemetry_interval = '5min'\n", "telemetry_interval: it is called telemetry_interval_s in a file"),
        ("head_s = 3\n", "head_s: it stands in [advanced.serving]"),
        ("config = 'b.toml'\n", "there is no setting 'config'"),
    ],
)
def test_an_option_that_a_file_gives_wrongly_is_one_clear_line(
    text: str, expected: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert run(["run", "--config", str(file), "--print-config"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {file}: ")
    assert expected in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "geheim" not in said.err


def test_every_option_is_printed_or_has_a_reason_not_to_be() -> None:
    text = CliRunner().invoke(run_command, ["--print-config", "tiny.edgemm"], catch_exceptions=False).output
    named = {line.removeprefix("# ").split(" =")[0] for line in text.splitlines()}
    options = {param.name for param in run_command.params}
    assert options - named == {"config", "print_config"} | options & RULES.not_in_file.keys()
    assert options & RULES.not_in_file.keys() == {"token", "telemetry_interval"}
