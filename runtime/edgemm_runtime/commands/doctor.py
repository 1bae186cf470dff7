"""The command `edgemm doctor`: tells what is installed, what is missing, and which engines really run here.

It works in the plain install.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from edgemm import __version__
from edgemm.bundle.engine_facts import all_engines
from edgemm.child_process import ChildAnswerError, ChildCrashError, ChildTimeoutError, ChildWorkError, ask
from edgemm.errors import EngineError, EnvironmentFailure
from edgemm.outlet import say_json
from edgemm.terminal import plain_console, plain_table
from edgemm_runtime.bench.board_facts import Board, read_board
from edgemm_runtime.commands.extras import Extra, read_extras
from edgemm_runtime.installed import available, entry_of, named
from edgemm_runtime.service.certificates import CertificateState, examine_certificates, installed_certificates

_PROBE = "edgemm_runtime.engines.probe"
_PROBE_TIMEOUT_S = 60


class EngineState(Struct, frozen=True):
    """One engine: its version if it is installed, and what is wrong with it, if anything."""

    engine: str
    distribution: str
    version: str | None
    problem: str | None


class DoctorReport(Struct, frozen=True):
    """What `edgemm doctor --json` prints."""

    edgemm: str
    python: str
    machine: str
    board: Board
    engines: tuple[EngineState, ...]
    extras: tuple[Extra, ...]
    certificates: tuple[CertificateState, ...] = ()
    """Of the services that are installed, and those that were given."""


@click.command()
@click.option(
    "--tls-cert",
    "given",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Look at this certificate too, beside that of the installed service. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def doctor(*, as_json: bool, given: tuple[Path, ...]) -> None:
    """Tell what is installed, what is missing, and which engines really run here.

    The TLS certificate of an installed service is looked at too. Ends with status 1 if an installed engine does not
    run, or a certificate has ended.
    """
    certificates = examine_certificates((*given, *installed_certificates(os.environ)))
    engines = tuple(_examine(facts.id, version=available().get(facts.id)) for facts in all_engines())
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    found = DoctorReport(
        __version__, platform.python_version(), machine, read_board(), engines, read_extras(), certificates
    )
    if as_json:
        say_json(msgspec.json.encode(found))
    else:
        _print(found)
    if broken := [e for e in engines if e.version and e.problem]:
        problems = "; ".join(f"{e.distribution} {e.version} does not run here: {e.problem}" for e in broken)
        raise EngineError(f"{problems}: reinstall it, or install a build for this CPU")
    if ended := [c.file for c in certificates if c.ended]:
        raise EnvironmentFailure(f"{', '.join(ended)} has ended: renew it, then reload the service")


def _examine(engine: str, *, version: str | None) -> EngineState:
    entry = entry_of(engine)
    if version is None:
        return EngineState(engine, entry.distribution, None, f"not installed: pip install '{entry.requirement}'")
    return EngineState(engine, entry.distribution, named(engine, version)[1], _probe(engine))


def _probe(engine: str) -> str | None:
    """Run a tiny model in a child process; return what went wrong."""
    try:
        return ask(_PROBE, [engine], answer=type(None), timeout_s=_PROBE_TIMEOUT_S)
    except ChildTimeoutError:
        return f"did not answer within {_PROBE_TIMEOUT_S} s"
    except ChildCrashError as err:
        return f"killed by {err.signal}"
    except ChildAnswerError as err:
        return err.last_line[:300] or f"exit status {err.status}"
    except ChildWorkError as err:
        return (str(err).splitlines() or [""])[-1][:300]


def _print(found: DoctorReport) -> None:
    console = plain_console()
    console.print(f"edgemm {found.edgemm}, Python {found.python}, {found.machine}")
    for line in found.board.lines():
        console.print(line)
    table = plain_table("engine", "version", "runs here", title="engines")
    for engine in found.engines:
        table.add_row(engine.distribution, engine.version or "–", engine.problem or "yes")
    console.print(table)
    table = plain_table("extra", "state", title="extras")
    for extra in found.extras:
        table.add_row(extra.name, extra.advice)
    console.print(table)
    if found.certificates:
        table = plain_table("certificate", "ends", "days", "state", title="certificates")
        for one in found.certificates:
            table.add_row(
                one.file, one.ends or "–", "–" if one.days is None else f"{one.days:.1f}", one.problem or "ok"
            )
        console.print(table)
