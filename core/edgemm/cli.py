"""The `edgemm` command: a table of commands by dotted name; only the command that is asked for is imported.

`edgemm --help` therefore imports no TensorFlow, Flask or numpy. Errors become exit statuses here and nowhere else:
0 done; 1 the command failed; 2 wrong usage, or input that can never work; 130 Ctrl-C.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from edgemm import __version__, durable
from edgemm.errors import EdgemmError, InputError, MissingExtraError
from edgemm.outlet import say, stdout
from edgemm.outlet.escaping import shortened
from edgemm.outlet.log_lines import plain_last_resort

_MOST_ERROR = 1500


@dataclass(frozen=True)
class LazyCommand:
    """Where a command lives (`module:attribute`), what its list entry says, and the extra that it needs."""

    target: str
    short_help: str
    extra: str | None = None


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def __init__(self, *args: object, table: dict[str, LazyCommand], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the table's order, which is the order in which a newcomer needs them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command.

        Raises:
            MissingExtraError: a library that it needs is not installed.
        """
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as err:
            raise _explained(err, entry) from err
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        Raises:
            MissingExtraError: a library that it imports only now is not installed.
        """
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as err:
            raise _explained(err, self.table.get(ctx.invoked_subcommand or "")) from err

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in self.table.items()])


def _explained(err: ModuleNotFoundError, entry: LazyCommand | None) -> Exception:
    """Return what to install; the error itself where no extra has the module."""
    if entry is None or entry.extra is None or (err.name or "edgemm").startswith("edgemm"):
        return err
    return MissingExtraError(entry.extra, missing=f"the Python package {err.name}")


COMMANDS = {
    "convert": LazyCommand("edgemm_converter.cli:convert", "Turn a trained model into a verified bundle.", "converter"),
    "inspect": LazyCommand("edgemm.commands.bundle_tools:inspect", "Show what is in a bundle."),
    "verify": LazyCommand(
        "edgemm_runtime.commands.verify:verify",
        "Check a bundle: its bytes and digests, and each variant's golden samples in the engines that are here.",
        "runtime",
    ),
    "extract": LazyCommand("edgemm.commands.bundle_tools:extract", "Write one variant's plain model file."),
    "predict": LazyCommand(
        "edgemm_runtime.commands.predict:predict",
        "Answer one or more INPUTs with a bundle's model, without a server.",
        "runtime",
    ),
    "bench": LazyCommand(
        "edgemm_runtime.commands.bench:bench",
        "Measure each variant: latency, throughput, memory, load time; each in its own process.",
        "runtime",
    ),
    "run": LazyCommand(
        "edgemm_runtime.commands.run:run",
        "Serve bundles on this machine, or be a device of a fleet (--fleet).",
        "runtime",
    ),
    "service": LazyCommand(
        "edgemm_runtime.commands.service:service",
        "Run this device as a systemd service: install, uninstall, status, show.",
        "runtime",
    ),
    "fleet": LazyCommand("edgemm_fleet.cli:fleet", "Serve and operate a fleet of devices.", "fleet"),
    "demo": LazyCommand("edgemm_demo.cli:demo", "See the whole story on this machine, in a minute or two.", "demo"),
    "doctor": LazyCommand(
        "edgemm_runtime.commands.doctor:doctor",
        "Tell what is installed, what is missing, and which engines really run here.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgemm")
def edgemm() -> None:
    """Take a trained Keras model to a monitored, roll-back-safe fleet of edge devices.

    Start with `edgemm demo`, or with a model of your own: `edgemm convert MODEL.keras`.
    """


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    stdout.keep_place()
    stdout.take_any_character()
    _end(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run one command and return its exit status; errors are one line on stderr."""
    plain_last_resort()
    try:
        status = edgemm.main(argv, prog_name="edgemm", standalone_mode=False)
    except (click.exceptions.Exit, click.ClickException) as err:
        if isinstance(err, click.ClickException):
            _show(err)
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("interrupted", err=True)
        return 130
    except UnicodeEncodeError as err:  # of what Python makes of bytes in an argument that are no UTF-8
        _say_error(f"error: {err.object!r}: expected text in UTF-8, found other bytes in it")
        return 2
    except OSError as err:
        return _lost_output(err)
    except EdgemmError as err:
        _say_error(f"error: {err}")
        return 2 if isinstance(err, InputError) else 1
    return status if isinstance(status, int) else 0


def _show(err: click.ClickException) -> None:
    """Print wrong usage as click does, with what was given escaped."""
    if isinstance(err, click.UsageError) and err.ctx is not None:
        say(*err.ctx.get_usage().splitlines(), err=True)
        say(f"Try '{err.ctx.command_path} {err.ctx.help_option_names[0]}' for help.", "", err=True)
    _say_error(*f"Error: {err.format_message()}".split("\n"))


def _say_error(*lines: str) -> None:
    """Print an error, in which an argument may be repeated that has any length."""
    say(*(shortened(line, most=_MOST_ERROR) for line in lines), err=True)


def _lost_output(err: OSError) -> int:
    """Return the status where stdout takes no more, or a disk takes no other file; any other error is raised again."""
    if err.errno in durable.FULL and isinstance(err.filename, str):
        step = durable.make_room(Path(err.filename).absolute().parent)
        _say_error(f"error: cannot write {err.filename}: {os.strerror(err.errno)}: {step}")
        return 1
    if not (stdout.reader_is_gone(err) or stdout.is_full(err) or stdout.is_closed(err)):
        raise err
    stdout.leave()
    if not stdout.reader_is_gone(err):  # to a reader that went away nothing more is to be said
        say(f"error: cannot write what is to be printed: {os.strerror(err.errno or 0)}", err=True)
    return 1


def _end(status: int) -> NoReturn:
    """Exit with a status; at once after what `atexit` has to do where nothing but daemon threads are left.

    The interpreter does not wait for those. One that is in an engine would meet the engine's destructors, which abort
    the process, or come back into an interpreter that is being taken down: an ordered stop would end as a crash.
    """
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left and all(thread.daemon for thread in left):
        atexit._run_exitfuncs()  # noqa: SLF001 - nothing else runs them before the interpreter is taken down
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
