"""Text on the terminal: `say` for people, `say_json` for programs."""

from __future__ import annotations

import logging

import click

from edgemm.outlet import escaping, stdout

_log = logging.getLogger(__name__)


def say(*lines: object, err: bool = False) -> None:
    """Print lines on stdout, or on stderr; what would begin another line within one is escaped.

    Raises:
        OSError: stdout takes none, or is closed.
    """
    if not err:
        stdout.require()
    for line in lines:
        click.echo(escaping.one_line(str(line)), err=err)


def call_out(*lines: object) -> None:
    """Print lines of a server, which serves on where stdout takes none: its disk is full, or nobody reads any more."""
    if not stdout.is_there():
        return
    try:
        say(*lines)
    except OSError as err:
        if not (stdout.reader_is_gone(err) or stdout.is_full(err)):
            raise
        stdout.leave()
        _log.warning("stdout takes no more: nothing is printed from here on error=%s", err.strerror)


def say_json(encoded: bytes) -> None:
    r"""Print JSON as a document of the same meaning.

    What a terminal would obey stands there by its number (`\u202e`), as JSON has it for control characters, and so
    does what the encoding of stdout lacks.
    """
    stdout.require()
    click.echo(escaping.json_encodable(escaping.json_printable(encoded.decode()), stdout.encoding()))


def say_document(text: str) -> None:
    """Print a file of several lines that we wrote, such as a configuration or a unit, without a line end of our own."""
    stdout.require()
    click.echo(escaping.printable(text), nl=False)


def progress(text: str) -> None:
    """Write over the last line of a terminal, on stderr; nothing ends a line of progress."""
    click.echo(f"\r{escaping.one_line(text)}", err=True, nl=False)
