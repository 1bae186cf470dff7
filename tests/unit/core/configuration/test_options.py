"""The mechanism by which a file gives a command's options: a new option is in it by its type alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgemm.configuration import toml_file
from edgemm.configuration.options import FileArgument, FileRules, configured, path_words, rest
from edgemm.configuration.shown import configuration_text
from edgemm.durations import Duration
from edgemm.errors import InputError

RULES = FileRules(secrets={"password": "put it into a file"}, elsewhere={"old": "it is called new"}, tables=("limits",))


@click.command()
@click.argument("things", cls=FileArgument, nargs=-1, type=click.Path(path_type=Path))
@configured(RULES)
@click.option("--number", type=click.IntRange(1, 9), default=3)
@click.option("--ratio", type=click.FloatRange(0, max=None))
@click.option("--pause", type=Duration(min_s=1, max_s=60))
@click.option("--many", multiple=True)
@click.option("--key", type=click.Path(path_type=Path), envvar="TEST_KEY")
@click.option("--loud/--quiet", default=False)
@click.option("--password")
@click.option("--old")
def command(**given: Any) -> None:
    context = click.get_current_context()
    if given["print_config"]:
        click.echo(configuration_text(context, RULES), nl=False)
        return
    del given["config"], given["print_config"]
    click.echo(repr(sorted(given.items())))
    click.echo(repr((rest(context), path_words(context))))


def told(*arguments: str, env: dict[str, str] | None = None) -> list[Any]:
    done = CliRunner().invoke(command, list(arguments), env=env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts, others = done.output.splitlines()
    names: dict[str, Any] = {"PosixPath": Path}
    return [dict(eval(facts, names)), *eval(others, names)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "given.toml"


def test_without_a_file_all_is_as_it_was() -> None:
    given, others, words = told()
    assert (given["number"], given["things"], given["loud"], others, words) == (3, (), False, {}, [])


def test_a_file_gives_options_arguments_and_tables(file: Path) -> None:
    file.write_text(
        'things = ["a", "/b"]\nnumber = 4\nratio = 2\npause = "1min"\nmany = ["x", "y"]\nkey = "k"\nloud = true\n'
        "[limits]\nsize = 1\n"
    )
    given, others, words = told("--config", str(file))
    folder = file.parent
    assert given == {
        "things": (folder / "a", Path("/b")), "number": 4, "ratio": 2.0, "pause": 60.0, "many": ("x", "y"),
        "key": folder / "k", "loud": True, "password": None, "old": None,
    }  # fmt: skip
    assert others == {"limits": {"size": 1}}
    assert words == [f"{folder}/a", "/b", "--key", f"{folder}/k"]


def test_the_command_line_is_above_the_environment_and_that_above_the_file(file: Path) -> None:
    file.write_text('number = 4\nmany = "x"\nkey = "k"\nthings = ["a"]\nloud = true\n')
    given, _, words = told("--config", str(file), "--many", "z", "--quiet", "b", env={"TEST_KEY": "/env"})
    assert (given["number"], given["many"], given["key"], given["loud"]) == (4, ("z",), Path("/env"), False)
    assert given["things"] == (Path("b"),)
    assert words == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmber = 1", "there is no setting 'nmber'; did you mean number?"),
        ("qqq = 1", "there is no setting 'qqq'; known are key, limits, loud, many, number, pause, ratio, things"),
        ("number = 0", "number: expected a whole number from 1 to 9, found 0"),
        ("number = 2.0", "number: expected a whole number from 1 to 9, found 2.0"),
        ("number = true", "number: expected a whole number from 1 to 9, found true"),
        ("number = [1]", "number: expected a whole number from 1 to 9, found [1]"),
        ("ratio = -1", "ratio: expected a number of at least 0, found -1"),
        ("pause = 61", "pause: expected a duration from 1 to 60 seconds, found 61"),
        ("pause = 'soon'", 'pause: expected a duration from 1 to 60 seconds, found "soon"'),
        ("many = [1]", "many: expected a text, found 1"),
        ('key = "a\\u0000b"', r'key: expected a path, found "a\u0000b"'),
        ("loud = 'yes'", 'loud: expected true or false, found "yes"'),
        ("password = 'geheim'", "password: not in a file: put it into a file"),
        ("old = 1", "old: it is called new"),
        ("number = 1\nnumber = 2", "expected TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(text: str, message: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        told("--config", str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_what_is_printed_is_such_a_file_without_secrets(file: Path) -> None:
    file.write_text('many = ["mqtt://u:geheim@host/x", "a \\"quoted\\" text"]\nkey = "k"\n')
    arguments = ["--config", str(file), "--print-config", "--password", "geheim", "--pause", "5s", "thing"]
    text = CliRunner().invoke(command, arguments).output
    assert "geheim" not in text
    assert text.startswith("# password is set by the command line, and not shown: put it into a file\n")
    found = tomllib.loads(text)
    assert found == {
        "things": [str(Path("thing").absolute())], "number": 3, "pause": 5.0, "key": str(file.parent / "k"),
        "many": ["mqtt://host/x", 'a "quoted" text'], "loud": False,
    }  # fmt: skip
    for line, source in (("number =", "default"), ("pause =", "command line"), ("key =", str(file))):
        assert next(one for one in text.splitlines() if one.startswith(line)).endswith(f"# {source}")


@pytest.mark.parametrize(
    "value", ["", 'a"b', "c\\d", "e\nf\tg", "ü€😀", "\x7f\x00\x1f", True, 0, -3, 1e-05, 2.5, [1, "x"]]
)
def test_a_value_is_written_as_it_is_read(value: object) -> None:
    assert tomllib.loads(f"a = {toml_file.written(value)}") == {"a": value}


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "c.toml"
    file.write_text('key = "~/k"\nthings = ["~/a", "b"]\n')
    given = told("--config", str(file))[0]
    assert given["key"] == tmp_path / "home/k"
    assert given["things"] == (tmp_path / "home/a", tmp_path / "b")
    file.write_text('key = "~nobody-of-this-name/k"\n')
    with pytest.raises(InputError, match="no home folder is known for .*: give the whole path"):
        told("--config", str(file))
