"""The terminal and the log are reached by ways that escape what others wrote."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgemm import cli
from edgemm.outlet import progress, say, say_document, say_json
from edgemm.outlet.log_lines import LogLine, log_to_stderr
from edgemm.terminal import plain_console, plain_table

EVIL = "cam\x1b[2J\u202e\nforged"
SHOWN = r"cam\x1b[2J\u202e\nforged"


def test_what_is_said_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL, "second")
    say(EVIL, err=True)
    progress(EVIL)
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{SHOWN}\nsecond\n", f"{SHOWN}\n\r{SHOWN}")


def test_a_document_keeps_its_lines_and_json_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    say_document("[a]\nb = 'x\x1b'\n")
    say_json('{"name":"cam\u202e\x7f"}'.encode())
    assert capsys.readouterr().out == "[a]\nb = 'x\\x1b'\n" + '{"name":"cam\\u202e\\u007f"}\n'


def test_tables_and_styled_lines_escape_too(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("name", title=EVIL)
    table.add_row(EVIL)
    plain_console().print(table)
    plain_console().print(EVIL, style="bold")
    assert capsys.readouterr().out.count(SHOWN) == 3


def test_a_record_is_one_line_and_a_traceback_is_set_in() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLine())
    logger = logging.Logger("edgemm.ingest")  # noqa: LOG001 - one apart
    logger.addHandler(handler)
    forged = "x\n2026-01-01 00:00:00,000 ERROR edgemm.fake all is lost"
    logger.warning("refused device=%s", forged)
    try:
        int(forged, base=int(forged[2:6]))
    except ValueError:
        logger.exception("failed")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith(
        r"WARNING edgemm.ingest refused device=x\n2026-01-01 00:00:00,000 ERROR edgemm.fake all is lost"
    )
    assert lines[1].endswith("ERROR edgemm.ingest failed")
    assert all(line.startswith("    ") for line in lines[2:])
    assert len(lines) > 3


def test_a_program_that_logs_already_keeps_its_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.Logger("root")  # noqa: LOG001 - one apart
    mine = logging.NullHandler()
    root.addHandler(mine)
    monkeypatch.setattr(logging, "getLogger", lambda *_: root)
    assert log_to_stderr(level="info") == []
    assert root.handlers == [mine]


def test_errors_and_wrong_usage_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inspect", EVIL]) in {1, 2}
    assert cli.run(["inspect", f"--{EVIL}"]) == 2
    assert cli.run([EVIL]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert not [line for line in said.splitlines() if line.startswith("forged")]


def test_what_a_library_warns_of_is_a_plain_line() -> None:
    program = f"from edgemm import cli; import logging; cli.run(['--help']); logging.getLogger('tuf').warning({EVIL!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == f"{SHOWN}\n"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict", "utf-8"])
def test_what_an_encoding_lacks_is_printed_as_its_escape(encoding: str) -> None:
    code = (
        "from edgemm.outlet import say, say_document, say_json, stdout; stdout.take_any_character();"
        "say('\\u65e5'); say_document('\\u65e5\\n'); say_json('[\"\\u65e5\\U0001f431\"]'.encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, check=True
    )
    lines = done.stdout.decode("utf-8").splitlines()
    assert [line for line in lines[:2] if line not in {"\u65e5", r"\u65e5"}] == []
    assert json.loads(lines[2]) == ["\u65e5\U0001f431"]


def test_a_server_goes_on_where_stdout_takes_nothing() -> None:
    code = "from edgemm.outlet import call_out; call_out('a', 'b'); call_out('c'); print('d')"
    reader, unread = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full, os.fdopen(unread, "wb") as pipe:
        for stdout in (full, pipe):
            done = subprocess.run([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, check=True)
            [told] = done.stderr.decode().splitlines()
            assert told.startswith("stdout takes no more")
