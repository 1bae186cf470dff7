"""The command line describes itself, and pages show only commands that exist."""

import os
from collections.abc import Iterator
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner

from edgemm.cli import COMMANDS, edgemm
from edgemm.errors import MissingExtraError
from edgemm.finite_range import FiniteRange
from tests.docs.commands import check, commands
from tests.docs.pages import DOCS, ROOT, Block, blocks

EACH = pytest.mark.parametrize("name", COMMANDS)
SHELL = [
    block
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
    for block in blocks(page)
    if block.language in {"bash", "console"}
]
SHOWN = [(block, arguments) for block in SHELL for arguments in commands(block)]


@EACH
def test_help_works_for_every_command_and_subcommand(name: str) -> None:
    for path, command in _walk(name):
        done = CliRunner().invoke(edgemm, [*path, "--help"])
        assert done.exit_code == 0, (path, done.output)
        assert done.output.startswith(f"Usage: edgemm {' '.join(path)} ")
        assert (command.help or "").strip(), path


@EACH
def test_every_option_says_what_it_does(name: str) -> None:
    silent = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in _walk(name)
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not (option.help or "").strip()
    ]
    assert silent == []


@EACH
def test_no_option_takes_what_is_no_number(name: str) -> None:
    """`nan` passes every comparison of a range, and `inf` overflows a clock."""
    loose = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in _walk(name)
        for option in command.params
        if isinstance(option.type, click.types.FloatParamType) and not isinstance(option.type, FiniteRange)
    ]
    assert loose == []


@EACH
def test_every_command_of_a_list_says_what_it_does(name: str) -> None:
    for path, command in _walk(name):
        assert command.get_short_help_str(limit=200), path


@EACH
def test_the_list_of_commands_says_what_the_command_itself_says(name: str) -> None:
    command = _command(name)
    own = command.short_help or (command.help or "").partition("\n\n")[0]
    assert " ".join(own.split()) == COMMANDS[name].short_help


@pytest.mark.parametrize(
    ("block", "arguments"), SHOWN, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
)
def test_a_command_on_a_page_exists_with_its_options(block: Block, arguments: list[str]) -> None:
    try:
        check(arguments)
    except MissingExtraError as err:
        _skip(err)
    except click.UsageError as err:
        pytest.fail(f"{block}: edgemm {' '.join(arguments)}: {err.format_message()}")


@pytest.mark.parametrize(
    "wrong",
    [
        ["nonsense"],
        ["inspect"],
        ["inspect", "a.edgemm", "b.edgemm"],
        ["inspect", "a.edgemm", "--nonsense"],
        ["extract", "a.edgemm", "-o", "m.tflite"],
        ["run", "a.edgemm", "--port", "http"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_on_a_page_would_be_noticed(wrong: list[str]) -> None:
    with pytest.raises(click.UsageError):
        check(wrong)


def _walk(name: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the path and command of a command and all below it."""
    todo: list[tuple[tuple[str, ...], click.Command]] = [((name,), _command(name))]
    while todo:
        path, command = todo.pop()
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = {child: command.get_command(context, child) for child in command.list_commands(context)}
            todo += [((*path, child), below) for child, below in children.items() if below is not None]


def _command(name: str) -> click.Command:
    try:
        command = edgemm.get_command(click.Context(edgemm), name)
    except MissingExtraError as err:
        _skip(err)
    assert command is not None, name
    return command


def _skip(err: MissingExtraError) -> NoReturn:
    if os.environ.get("EDGEMM_REQUIRE_SERVICES") == "1":
        raise err
    pytest.skip(str(err))
